"""The inbox as an item model: one row a request, one column a question an officer asks."""

from __future__ import annotations

from datetime import date
from enum import IntEnum
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, QSortFilterProxyModel, Qt
from PySide6.QtWidgets import QApplication

from console.casework.views import InboxLine
from console.gui.presenter import Drawer, due_mark, due_words, in_drawer, matches, standing, status_mark
from console.gui.theme import icon, tone_color
from console.gui.tones import Mark

Index = QModelIndex | QPersistentModelIndex
SORT_ROLE = Qt.ItemDataRole.UserRole


class Column(IntEnum):
    """The columns, in their order."""

    NUMBER = 0
    PERSON = 1
    STATUS = 2
    DUE = 3
    NEXT = 4

    @property
    def heading(self) -> str:
        return ("No.", "Person", "Status", "Due", "Next step")[self]


class InboxModel(QAbstractTableModel):
    """The lines of :func:`console.casework.views.inbox`, in its order."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lines: list[InboxLine] = []

    def show_lines(self, lines: list[InboxLine]) -> None:
        """Take new lines; rows that only changed keep their place and their selection."""
        if [line.number for line in lines] != [line.number for line in self._lines]:
            self.beginResetModel()
            self._lines = list(lines)
            self.endResetModel()
            return
        self._lines = list(lines)
        if lines:
            self.dataChanged.emit(self.index(0, 0), self.index(len(lines) - 1, len(Column) - 1))

    def line(self, row: int) -> InboxLine:
        return self._lines[row]

    def row_of(self, number: str) -> int | None:
        return next((row for row, line in enumerate(self._lines) if line.number == number), None)

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(self._lines)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(Column)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation is Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return Column(section).heading
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        line, column = self._lines[index.row()], Column(index.column())
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return self._text(line, column)
            case Qt.ItemDataRole.DecorationRole:
                mark = self._mark(line, column)
                return icon(mark.icon, QApplication.palette(), mark.tone) if mark else None
            case Qt.ItemDataRole.ForegroundRole:
                mark = self._mark(line, column)
                return tone_color(mark.tone, QApplication.palette()) if mark else None
            case Qt.ItemDataRole.ToolTipRole:
                return line.summary if column is Column.NUMBER else self._text(line, column)
            case Qt.ItemDataRole.AccessibleTextRole:
                return f"{column.heading}: {self._text(line, column)}"
            case role if role == SORT_ROLE:
                return self._sort_key(line, column)
        return None

    @staticmethod
    def _text(line: InboxLine, column: Column) -> str:
        match column:
            case Column.NUMBER:
                return line.number
            case Column.PERSON:
                return line.person
            case Column.STATUS:
                return standing(line)
            case Column.DUE:
                return due_words(line)
            case Column.NEXT:
                return line.next_step

    @staticmethod
    def _mark(line: InboxLine, column: Column) -> Mark | None:
        if column is Column.DUE:
            return due_mark(line.urgency)
        return status_mark(line) if column is Column.STATUS else None

    @classmethod
    def _sort_key(cls, line: InboxLine, column: Column) -> str:
        if column is Column.DUE:
            return f"{(line.due or date.max).isoformat()} {(line.received or date.max).isoformat()}"
        return cls._text(line, column)


class InboxProxy(QSortFilterProxyModel):
    """The lines of one drawer that fit the search, sorted by due date unless a heading was clicked."""

    def __init__(self, model: InboxModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._drawer = Drawer.OPEN
        self._search = ""
        self.setSourceModel(model)
        self.setSortRole(SORT_ROLE)
        self.setDynamicSortFilter(True)
        self.sort(Column.DUE)

    def show_drawer(self, drawer: Drawer) -> None:
        self.beginFilterChange()
        self._drawer = drawer
        self.endFilterChange(QSortFilterProxyModel.Direction.Rows)

    def search(self, text: str) -> None:
        self.beginFilterChange()
        self._search = text
        self.endFilterChange(QSortFilterProxyModel.Direction.Rows)

    def filterAcceptsRow(self, row: int, parent: Index) -> bool:
        model = self.sourceModel()
        assert isinstance(model, InboxModel)
        line = model.line(row)
        return in_drawer(line, self._drawer) and matches(line, self._search)
