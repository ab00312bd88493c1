"""The name of the organisation, which stands on every report."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QLineEdit, QWidget

from console.gui.form_dialog import FormDialog


class OrganisationDialog(FormDialog):
    """One field; a name that cannot be is refused under it, with what was typed still there."""

    def __init__(self, parent: QWidget | None, name: str, save: Callable[[str], None]) -> None:
        super().__init__(
            parent,
            "Name of the organisation",
            "This name stands on every report.",
            "Record the name",
            lambda: save(self.name.text().strip()),
        )
        self.name = QLineEdit(name)
        self.field("Name", self.name)
        self.body.addStretch(1)
