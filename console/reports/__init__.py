"""Reports: the evidence of one case, the PDF that shows it, its signature, and the check of all three."""
