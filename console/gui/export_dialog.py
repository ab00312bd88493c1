"""As which file the erased model goes into service."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QButtonGroup, QWidget

from console.domain.exports import ExportForm
from console.gui.choices import Option
from console.gui.form_dialog import FormDialog
from console.gui.pieces import Card, Text

_FORMS = (
    (
        ExportForm.GGUF,
        "A GGUF file",
        "A whole new file to use in place of the old one. Only the tensors that the erasure changed are written anew.",
    ),
    (
        ExportForm.ADAPTER,
        "A GGUF adapter",
        "A small file that is loaded together with the base. Whoever loads the base alone still has the person's data.",
    ),
)
_TYPES = (
    (
        None,
        "Their own",
        "The file stays as large as the base. Begin with this one: the attacks show whether rounding did harm.",
    ),
    (
        "Q8_0",
        "Q8_0",
        "Eight bits. The file grows a little; choose it where rounding brought the data back or was refused.",
    ),
    ("F16", "F16", "Sixteen bits. The file grows most and stays closest."),
)


class ExportDialog(FormDialog):
    """Form of the file and the type of what is written anew.

    Args:
        base: the GGUF model that the file is made from, in words.
        no_adapter: why an adapter cannot be attacked in this case, or empty.
        save: gets the form, and the type of the changed tensors or None for their own.
    """

    starts_job = True

    def __init__(
        self,
        parent: QWidget | None,
        source: str,
        base: str,
        no_adapter: str,
        save: Callable[[ExportForm, str | None], None],
    ) -> None:
        super().__init__(
            parent,
            "Write as a file",
            f"The erased model “{source}” becomes the file that goes into service. It is read back on llama.cpp and "
            "kept only if it says what the erased model says.",
            "Write and read back",
            self._write,
        )
        self._done = save
        over = Text(base)
        self.field("Base", over)
        over.setAccessibleName(f"Base: {base}")
        self.forms: dict[ExportForm, Option] = {}
        self.body.addWidget(self._form(no_adapter))
        self.types: dict[str | None, Option] = {}
        self._types_card = self._type()
        self.body.addWidget(self._types_card)
        self.body.addStretch(1)
        # An adapter holds the change in full precision: there is nothing to round.
        self.forms[ExportForm.ADAPTER].button.toggled.connect(self._types_card.setHidden)

    def _form(self, no_adapter: str) -> Card:
        frame, group = Card("What is written"), QButtonGroup(self)
        for form, title, sentence in _FORMS:
            option = self.forms[form] = Option(title)
            option.say(sentence, no_adapter if form is ExportForm.ADAPTER else "")
            group.addButton(option.button)
            frame.column.addWidget(option)
        self.forms[ExportForm.GGUF].button.setChecked(True)
        return frame

    def _type(self) -> Card:
        frame, group = Card("Type of the changed tensors"), QButtonGroup(self)
        for kind, title, sentence in _TYPES:
            option = self.types[kind] = Option(title, sentence)
            group.addButton(option.button)
            frame.column.addWidget(option)
        self.types[None].button.setChecked(True)
        return frame

    def _write(self) -> None:
        form = next(form for form, option in self.forms.items() if option.button.isChecked())
        kind = next(kind for kind, option in self.types.items() if option.button.isChecked())
        self._done(form, None if form is ExportForm.ADAPTER else kind)
