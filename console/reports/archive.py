"""From pages to an archive file: PDF/A-3b (ISO 19005-3) with the evidence attached.

The pages are made by reportlab with every font embedded; here come the output intent, the metadata
that declares the standard, the language, and the evidence as an associated file. Nothing depends on the
clock: dates are the evidence's, identifiers are derived from the content.
"""

from __future__ import annotations

import io
from datetime import datetime

import pikepdf
from pikepdf import Array, Dictionary, Name, String

from console.paths import resource
from console.reports.encoding import EVIDENCE_NAME, evidence_bytes
from console.reports.evidence import Evidence
from console.reports.pdf import LANGUAGE, build_pdf, report_title

PRODUCER = "Erasure Console"
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/"
    xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:pdf="http://ns.adobe.com/pdf/1.3/">
   <pdfaid:part>3</pdfaid:part>
   <pdfaid:conformance>B</pdfaid:conformance>
   <dc:format>application/pdf</dc:format>
   <dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>
   <dc:creator><rdf:Seq><rdf:li>{author}</rdf:li></rdf:Seq></dc:creator>
   <dc:language><rdf:Bag><rdf:li>{language}</rdf:li></rdf:Bag></dc:language>
   <xmp:CreatorTool>{producer}</xmp:CreatorTool>
   <xmp:CreateDate>{date}</xmp:CreateDate>
   <xmp:ModifyDate>{date}</xmp:ModifyDate>
   <xmp:MetadataDate>{date}</xmp:MetadataDate>
   <pdf:Producer>{producer}</pdf:Producer>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def _xml(text: str) -> str:
    """Text for XML 1.0, which forbids most control characters even when escaped."""
    allowed = "".join(character for character in text if character >= " " or character in "\t\n")
    return allowed.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _metadata(pdf: pikepdf.Pdf, evidence: Evidence, made: datetime) -> None:
    """The same facts in the XMP packet, which PDF/A reads, and in the old information dictionary."""
    pdf_date = String(f"D:{made:%Y%m%d%H%M%S}+00'00'")
    packet = _XMP.format(
        title=_xml(report_title(evidence)),
        author=_xml(evidence.organisation),
        language=LANGUAGE,
        producer=PRODUCER,
        date=f"{made:%Y-%m-%dT%H:%M:%S}+00:00",
    )
    stream = pdf.make_stream(packet.encode("utf-8"), Type=Name.Metadata, Subtype=Name.XML)
    pdf.Root.Metadata = pdf.make_indirect(stream)
    pdf.trailer.Info = pdf.make_indirect(
        Dictionary(
            Title=String(report_title(evidence)),
            Author=String(evidence.organisation),
            Creator=String(PRODUCER),
            Producer=String(PRODUCER),
            CreationDate=pdf_date,
            ModDate=pdf_date,
        )
    )


def _output_intent(pdf: pikepdf.Pdf) -> None:
    """All colours on the pages are plain RGB; this says that sRGB is meant."""
    profile = pdf.make_stream(resource("report", "srgb.icc").read_bytes(), N=3, Alternate=Name.DeviceRGB)
    intent = Dictionary(
        Type=Name.OutputIntent,
        S=Name.GTS_PDFA1,
        OutputConditionIdentifier=String("sRGB IEC61966-2.1"),
        Info=String("sRGB IEC61966-2.1"),
        RegistryName=String("http://www.color.org"),
        DestOutputProfile=pdf.make_indirect(profile),
    )
    pdf.Root.OutputIntents = Array([pdf.make_indirect(intent)])


def _attach(pdf: pikepdf.Pdf, data: bytes, made: datetime) -> None:
    """The evidence as one associated file, named once in the name tree and once in ``/AF``."""
    pdf_date = String(f"D:{made:%Y%m%d%H%M%S}+00'00'")
    stream = pdf.make_stream(
        data,
        Type=Name.EmbeddedFile,
        Subtype=Name("/application/json"),
        Params=Dictionary(Size=len(data), ModDate=pdf_date, CreationDate=pdf_date),
    )
    embedded = pdf.make_indirect(stream)
    file = pdf.make_indirect(
        Dictionary(
            Type=Name.Filespec,
            F=String(EVIDENCE_NAME),
            UF=String(EVIDENCE_NAME),
            Desc=String("The counts, identities and decisions that this report shows"),
            AFRelationship=Name.Data,
            EF=Dictionary(F=embedded, UF=embedded),
        )
    )
    pdf.Root.Names = Dictionary(EmbeddedFiles=Dictionary(Names=Array([String(EVIDENCE_NAME), file])))
    pdf.Root.AF = Array([file])


def build_archive(evidence: Evidence, ca_fingerprint: str) -> bytes:
    """The unsigned report: pages, PDF/A-3b and attachment. Same arguments, same bytes.

    Args:
        ca_fingerprint: SHA-256 of the certificate authority that will sign, printed for recipients.

    Raises:
        InputError: the evidence holds a text that cannot be written.
    """
    made = datetime.fromisoformat(evidence.created_at.replace("Z", "+00:00"))
    target = io.BytesIO()
    with pikepdf.open(io.BytesIO(build_pdf(evidence, ca_fingerprint))) as pdf:
        _metadata(pdf, evidence, made)
        _output_intent(pdf)
        _attach(pdf, evidence_bytes(evidence), made)
        pdf.Root.Lang = String(LANGUAGE)
        pdf.Root.ViewerPreferences = Dictionary(DisplayDocTitle=True)
        for page in pdf.pages:
            page.Tabs = Name.S
        # Classic cross-reference tables: the signature is written as an incremental update, and readers differ
        # most on updates of cross-reference streams.
        pdf.save(
            target,
            min_version="1.7",
            object_stream_mode=pikepdf.ObjectStreamMode.disable,
            compress_streams=True,
            deterministic_id=True,
        )
    return target.getvalue()
