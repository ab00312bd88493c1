"""The inbox: what is due, why, and what to do next."""

from __future__ import annotations

from PySide6.QtCore import QItemSelection, QModelIndex, QPersistentModelIndex, QRectF, Qt, Signal
from PySide6.QtGui import QBrush, QFocusEvent, QKeyEvent, QPainter, QPen
from PySide6.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QButtonGroup,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QSizePolicy,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QToolButton,
    QWidget,
)

from console.casework.office import Office
from console.casework.story import timeline
from console.casework.views import InboxLine, inbox
from console.domain.deadline import Urgency
from console.gui.action_button import ActionButton
from console.gui.actions import ActionRegistry
from console.gui.flow_box import FlowBox
from console.gui.inbox_model import Column, InboxModel, InboxProxy
from console.gui.pieces import Card, Chip, IconMark, Page, Text, primary_button
from console.gui.presenter import Drawer, due_mark, due_words, in_drawer, local_day, standing, status_mark
from console.gui.theme import GRID, ROW, accent, blend, icon_size
from console.gui.tones import Tone

_LINES_SHOWN = 5
_TINT = 0.14  # share of the accent in the ground of the selected row


class _RowDelegate(QStyledItemDelegate):
    """Draws the selected row on a tint, so that its colours stay; where the table has the keyboard also an edge."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> None:
        super().initStyleOption(option, index)
        if not option.state & QStyle.StateFlag.State_Selected:
            return
        option.state &= ~(QStyle.StateFlag.State_Selected | QStyle.StateFlag.State_HasFocus)
        palette = QApplication.palette()
        option.backgroundBrush = QBrush(blend(palette.base().color(), accent(palette), _TINT))

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        is_selected = bool(option.state & QStyle.StateFlag.State_Selected)
        super().paint(painter, option, index)
        table = self.parent()
        assert isinstance(table, QTableView)
        if not (is_selected and table.hasFocus()):
            return
        edge = QRectF(option.rect).adjusted(0, 1, 0, -1)
        painter.save()
        painter.setPen(QPen(accent(QApplication.palette()), 2))
        painter.drawLine(edge.topLeft(), edge.topRight())
        painter.drawLine(edge.bottomLeft(), edge.bottomRight())
        if index.column() == 0:
            painter.drawLine(edge.topLeft(), edge.bottomLeft())
        if index.column() == index.model().columnCount() - 1:
            painter.drawLine(edge.topRight(), edge.bottomRight())
        painter.restore()


class InboxTable(QTableView):
    """The table; Enter opens the selected request."""

    chosen = Signal()

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.viewport().update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.viewport().update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.chosen.emit()
            return
        super().keyPressEvent(event)


class Preview(Card):
    """The selected request in a few lines, with the button that opens it."""

    def __init__(self) -> None:
        super().__init__()
        self.title = Text(bold=True, scale=1.15)
        self.status = Chip()
        self.open = primary_button("Open the request")
        self.title.setWordWrap(False)
        self.title.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        head = FlowBox(self.title, self.status, self.open)
        self._due_mark = IconMark()
        self._due = Text()
        due = QHBoxLayout()
        due.setSpacing(GRID // 2)
        due.addWidget(self._due_mark)
        due.addWidget(self._due, 1)
        self._summary = Text()
        self._last = Text(tone=Tone.QUIET)
        self.column.addWidget(head)
        self.column.addLayout(due)
        self.column.addWidget(self._summary)
        self.column.addWidget(self._last)

    def show_line(self, line: InboxLine, last: str) -> None:
        self.title.setText(f"{line.number}   {line.person}")
        mark, due = status_mark(line), due_mark(line.urgency)
        self.status.show_state(standing(line), mark.icon, mark.tone)
        self._due_mark.show_mark(due.icon, due.tone)
        self._due.setText(due_words(line))
        self._due.set_tone(due.tone)
        self._summary.say(line.problem or line.summary)
        self._last.say(last)
        self.open.setEnabled(not line.problem)


class InboxPage(Page):
    """Chips, search, table and preview.

    Signals:
        opened: number of the request to open.
        counted: how many requests are open, and how many are pressing.
    """

    opened = Signal(str)
    counted = Signal(int, int)

    def __init__(self, office: Office, actions: ActionRegistry) -> None:
        super().__init__("Requests")
        self._office = office
        self.model = InboxModel(self)
        self.proxy = InboxProxy(self.model, self)
        self.column.addWidget(self._heading(actions))
        self.column.addWidget(self._filters())
        self.table = self._table()
        self.column.addWidget(self.table, 1)
        self._empty = Text("No request fits. Clear the search, or choose “All”.", tone=Tone.QUIET)
        self.column.addWidget(self._empty)
        self.preview = Preview()
        self.preview.open.clicked.connect(self._open)
        self.column.addWidget(self.preview)
        self.show_drawer(Drawer.OPEN)

    def reload(self) -> None:
        """Read the requests again and keep the selection."""
        number = self.selected()
        lines = inbox(self._office)
        self.model.show_lines(lines)
        for drawer, chip in self._chips.items():
            count = sum(in_drawer(line, drawer) for line in lines)
            chip.setText(f"{drawer.value} {count}")
            chip.setAccessibleName(f"{drawer.value}, {count} requests")
        self._select(number)
        pressing = sum(in_drawer(line, Drawer.DUE_SOON) for line in lines)
        self.counted.emit(sum(line.urgency is not Urgency.ANSWERED for line in lines), pressing)

    def selected(self) -> str | None:
        """Number of the selected request."""
        index = self.table.currentIndex()
        return self.model.line(self.proxy.mapToSource(index).row()).number if index.isValid() else None

    def first_stop(self) -> QWidget:
        return self.table

    def focus_search(self) -> None:
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search.selectAll()

    def show_drawer(self, drawer: Drawer) -> None:
        self._chips[drawer].setChecked(True)
        self.proxy.show_drawer(drawer)
        self._select(self.selected())

    # -- building -----------------------------------------------------------------------------

    def _heading(self, actions: ActionRegistry) -> QWidget:
        head = QWidget()
        line = QHBoxLayout(head)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(Text("Requests", scale=1.6, bold=True), 1)
        line.addWidget(ActionButton(actions, "request.new", primary=True))
        return head

    def _filters(self) -> QWidget:
        bar = FlowBox()
        self._chips: dict[Drawer, QToolButton] = {}
        group = QButtonGroup(bar)
        for drawer in Drawer:
            chip = QToolButton()
            chip.setProperty("chip", True)
            chip.setText(drawer.value)
            chip.setCheckable(True)
            chip.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            chip.clicked.connect(lambda _checked=False, drawer=drawer: self.show_drawer(drawer))
            group.addButton(chip)
            bar.add(chip)
            self._chips[drawer] = chip
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search")
        self.search.setAccessibleName("Search the requests")
        self.search.setClearButtonEnabled(True)
        self.search.setMinimumHeight(self.search.fontMetrics().height() + 10)
        self.search.setMinimumWidth(self.search.fontMetrics().averageCharWidth() * 26)
        self.search.textChanged.connect(self._search_changed)
        self.search.returnPressed.connect(self._open)
        bar.add(self.search)
        return bar

    def _table(self) -> InboxTable:
        table = InboxTable()
        table.setAccessibleName("Requests")
        table.setModel(self.proxy)
        table.setItemDelegate(_RowDelegate(table))
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setTabKeyNavigation(False)  # Tab leaves the table; the arrow keys walk in it
        table.setShowGrid(False)
        table.setAlternatingRowColors(True)
        table.setWordWrap(False)
        table.setSortingEnabled(True)
        table.horizontalHeader().setSortIndicator(Column.DUE, Qt.SortOrder.AscendingOrder)
        table.setIconSize(icon_size(table))
        table.verticalHeader().hide()
        row = max(ROW, table.fontMetrics().height() + 10)
        table.verticalHeader().setDefaultSectionSize(row)
        table.setMinimumHeight(row * _LINES_SHOWN + table.horizontalHeader().sizeHint().height() + 4)
        header = table.horizontalHeader()
        header.setAccessibleName("Columns of the requests")
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        table.selectionModel().selectionChanged.connect(self._selection_changed)
        table.doubleClicked.connect(self._open)
        table.chosen.connect(self._open)
        return table

    # -- reacting -----------------------------------------------------------------------------

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape and self.search.text():
            self.search.clear()
            return
        super().keyPressEvent(event)

    def _search_changed(self, text: str) -> None:
        self.proxy.search(text)
        self._select(self.selected())

    def _select(self, number: str | None) -> None:
        """Select a request, or the first one where it is not shown."""
        row = self.model.row_of(number) if number is not None else None
        index = self.proxy.mapFromSource(self.model.index(row, 0)) if row is not None else QModelIndex()
        self.table.setCurrentIndex(index if index.isValid() else self.proxy.index(0, 0))
        self._show_selected()

    def _selection_changed(self, _selected: QItemSelection, _deselected: QItemSelection) -> None:
        self._show_selected()

    def _show_selected(self) -> None:
        number = self.selected()
        self._empty.setVisible(self.proxy.rowCount() == 0)
        self.preview.setVisible(number is not None)
        if number is None:
            return
        row = self.model.row_of(number)
        assert row is not None
        last = timeline(self._office, number)[-1]
        self.preview.show_line(self.model.line(row), f"Last entry, {local_day(last.at)}: {last.what}")

    def _open(self) -> None:
        number = self.selected()
        if number is not None and self.preview.open.isEnabled():
            self.opened.emit(number)
