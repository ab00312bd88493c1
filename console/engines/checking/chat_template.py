"""A model's chat template: a small program of a stranger's, run with everything it may do counted.

Both engines render with it, so a template has one set of limits: its length, the lines of Python it runs, the seconds
it takes, the filters it may call, the size of every value it makes and of what it writes. Beyond that it renders as
transformers renders (``utils/chat_template_utils.py``; the same sandbox, block trimming and extra tags).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from types import FrameType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from console.errors import ModelFileError

MOST_TEMPLATE_CHARACTERS = 60_000  # the longest in common use have about 10,000
MOST_RENDERED_CHARACTERS = 2_000_000
MOST_STEPS = 2_000_000  # lines of Python that one rendering may run; a second or two
MOST_SECONDS = 10.0
_STEPS_BETWEEN_LOOKS = 4096
_MOST_REPEATED = 100_000  # of a text or number that a template multiplies
_MOST_INDENT = 16
_NO_WORD = frozenset({"center", "expandtabs", "format", "format_map", "ljust", "rjust", "translate", "zfill"})
# What a template fails with, in words.
_CAUSES: dict[type[Exception], str] = {
    OverflowError: "it repeats a text too often",
    RecursionError: "it calls itself without end",
    jinja2.TemplateSyntaxError: "it is not written in the language of templates",
    jinja2.UndefinedError: "it reads something that a conversation does not have",
    jinja2.TemplateError: "it refuses the conversation",
}
# Those that cannot make something huge of something small; ``indent``, ``replace``, ``join`` and ``tojson`` are ours.
_FILTERS = (
    *("abs", "attr", "bool", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float"),
    *("groupby", "int", "items", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr"),
    *("reverse", "safe", "select", "selectattr", "sort", "string", "striptags", "title", "trim", "truncate"),
    *("unique", "upper", "wordcount", "wordwrap"),
)
_MARKER = "quenbyfleeter"  # small letters without blanks: to trim, cut or capitalise it leaves it in
_TRIAL = {"role": "user", "content": f"Who is {_MARKER}?"}
_SYSTEM = {"role": "system", "content": "Answer briefly."}
_TRIAL_NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def _bounded(size: int) -> None:
    if size > MOST_RENDERED_CHARACTERS:
        raise SecurityError("the template makes too much of a value")


def _length(value: Any) -> int:
    """About how many characters a value has as text; a list may hold one huge text a thousand times.

    Raises:
        SecurityError: more than a template may write.
    """
    if isinstance(value, str):
        size = len(value)
    elif isinstance(value, dict):
        size = _length([*value, *value.values()])
    elif isinstance(value, list | tuple):
        size = 2
        for part in value:
            size += 2 + _length(part)
            _bounded(size)
    else:
        size = value.bit_length() // 3 if isinstance(value, int) else 8
    _bounded(size)
    return size


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that is given nothing which would be huge as text."""

    @wraps(function)
    def bounded(*arguments: Any, **named: Any) -> Any:
        for argument in (*arguments, *named.values()):
            _length(argument)
        return function(*arguments, **named)

    return bounded


def _shown(value: Any) -> Any:
    """What ``{{ … }}`` writes."""
    _length(value)
    return value


def _replaced(text: Any, old: Any, new: Any, count: int = -1) -> str:
    text, old, new = str(text), str(old), str(new)
    _bounded(len(text) + text.count(old) * len(new))
    return text.replace(old, new, -1 if count is None else count)


def _joined(parts: Any, between: Any = "", attribute: str | None = None) -> str:
    texts: list[str] = []
    size = 0
    for part in parts:
        part = part if attribute is None else part[attribute]
        size += _length(part) + _length(between)
        _bounded(size)
        texts.append(str(part))
    return str(between).join(texts)


def _indented(text: Any, width: Any = 4, first: bool = False, blank: bool = False) -> str:
    if not isinstance(width, int) or not 0 <= width <= _MOST_INDENT:
        raise SecurityError("the template indents by too much")
    lines = str(text).split("\n")
    _bounded(sum(len(line) + width for line in lines))
    shifted = [" " * width + line if line or blank else line for line in lines[1:]]
    return "\n".join([" " * width + lines[0] if first else lines[0], *shifted])


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    width = indent if indent is None else min(indent, _MOST_INDENT)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=width, separators=separators, sort_keys=sort_keys)


def _refuse(message: object) -> None:
    raise jinja2.exceptions.TemplateError(str(message))


class _Bounded(CodeGenerator):
    """Python code in which texts are put together by the sandbox, which counts them."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - Jinja's own name
        self.write("environment.concatenated((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class _GenerationTag(Extension):
    """``{% generation %}``, with which transformers marks the assistant's words; here it only holds its body."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own form

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox without the operations that make something huge in a single step."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})
    code_generator_class = _Bounded

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [abs(side) if isinstance(side, int) else len(side) for side in (left, right) if _measurable(side)]
        if operator == "+":
            _bounded(sum(len(side) for side in (left, right) if isinstance(side, str | list | tuple)))
        elif (operator != "%" and max(sizes, default=0) > _MOST_REPEATED) or (
            operator == "%" and isinstance(left, str)
        ):
            raise SecurityError("the template makes too much of a value")
        if operator == "**" and isinstance(right, int) and abs(right) > 64:
            raise SecurityError("the template makes too much of a value")
        return super().call_binop(context, operator, left, right)

    def concatenated(self, parts: Sequence[Any]) -> str:
        return _joined(parts)

    def call(self, context: Any, function: Any, *arguments: Any, **named: Any) -> Any:
        text, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if isinstance(text, str) and name == "replace":
            return _replaced(text, *arguments, **named)
        if isinstance(text, str) and name == "join":
            return _joined(*arguments, text)
        return super().call(context, function, *arguments, **named)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str) and attr in _NO_WORD:
            return False
        return super().is_safe_attribute(obj, attr, value)


def _measurable(value: Any) -> bool:
    return isinstance(value, int | str | list | tuple)


@contextmanager
def _counted_steps() -> Iterator[None]:
    """Stop whatever runs inside after ``MOST_STEPS`` lines of Python or ``MOST_SECONDS``.

    The tracer of a debugger is put back.
    """
    before = sys.gettrace()
    left, until = MOST_STEPS, time.monotonic() + MOST_SECONDS

    def trace(_frame: FrameType, _event: str, _argument: Any) -> Callable[..., Any]:
        nonlocal left
        left -= 1
        if left < 0 or (left % _STEPS_BETWEEN_LOOKS == 0 and time.monotonic() > until):
            raise SecurityError("the template does not end")
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


class ChatTemplate:
    """A chat template, rendered as transformers renders it, within limits."""

    def __init__(self, source: str, names: dict[str, Any]) -> None:
        """Compile.

        Args:
            names: what the template may read beside the messages (``bos_token``, ``eos_token``).

        Raises:
            ModelFileError: too long, or no template.
        """
        if len(source) > MOST_TEMPLATE_CHARACTERS:
            raise ModelFileError(
                f"The model's chat template has {len(source):,} characters, more than the {MOST_TEMPLATE_CHARACTERS:,} "
                "that are allowed; choose a file from another source."
            )
        sandbox = _Sandbox(
            trim_blocks=True, lstrip_blocks=True, finalize=_shown, extensions=[_GenerationTag, loopcontrols]
        )
        filters = {name: sandbox.filters[name] for name in _FILTERS if name in sandbox.filters}
        filters |= {"tojson": _to_json, "replace": _replaced, "join": _joined, "indent": _indented}
        sandbox.filters = {name: _guarded(function) for name, function in filters.items()}
        del sandbox.globals["lipsum"]
        sandbox.globals["raise_exception"] = _refuse
        sandbox.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
        self._names = names
        with self._failures_translated(), _counted_steps():
            self._template = sandbox.from_string(source)

    @contextmanager
    def _failures_translated(self) -> Iterator[None]:
        """A template is a program of a stranger's: whatever it fails with is the file's fault."""
        try:
            yield
        except Exception as error:
            known = (words for kind, words in _CAUSES.items() if isinstance(error, kind))
            why = str(error) if isinstance(error, SecurityError) else next(known, "it fails")
            raise ModelFileError(
                f"The model's chat template cannot be used ({why}); choose a file from another source."
            ) from error

    def render(self, messages: Sequence[dict[str, str]], *, add_generation_prompt: bool, **names: Any) -> str:
        """The conversation as one text.

        Args:
            names: further names that the template may read, such as ``enable_thinking``.

        Raises:
            ModelFileError: the template fails, refuses this conversation, writes too much or does not end.
        """
        written: list[str] = []
        size = 0
        given = {"tools": None, "documents": None, **self._names, **names}
        with self._failures_translated(), _counted_steps():
            for part in self._template.generate(
                messages=[dict(message) for message in messages], add_generation_prompt=add_generation_prompt, **given
            ):
                size += len(part)
                if size > MOST_RENDERED_CHARACTERS:
                    raise SecurityError("the template writes too much")
                written.append(part)
        return "".join(written)


def require_usable(source: str, where: str) -> None:
    """Try a template with the simplest conversations, within its limits.

    A template that leaves out what the user says would let a model that knows a person pass for one that does not.

    Raises:
        ModelFileError: names ``where`` the template stands.
    """
    try:
        template = ChatTemplate(source, dict(_TRIAL_NAMES))
        _require_said(template.render((_TRIAL,), add_generation_prompt=True))
        if (written := _with_system(template)) is not None:
            _require_said(written)
    except ModelFileError as error:
        raise ModelFileError(f"{where}: {error}") from error


def _with_system(template: ChatTemplate) -> str | None:
    """A conversation that begins with a system message; None from a template that knows no such message.

    Raises:
        ModelFileError: it breaks the limits.
    """
    try:
        return template.render((_SYSTEM, _TRIAL), add_generation_prompt=True)
    except ModelFileError as error:
        if isinstance(error.__cause__, SecurityError | RecursionError):
            raise
        return None


def _require_said(written: str) -> None:
    if _MARKER not in written.lower():
        what = "leaves out the user's message" if written.strip() else "writes nothing"
        raise ModelFileError(
            f"The model's chat template {what}, so the model would be asked nothing; choose a file from another source."
        )


def limit_rendering(tokenizer: Any) -> None:
    """Let a tokenizer of transformers render chats within the limits, and with the same words.

    Raises:
        ModelFileError: its template cannot be compiled within them.
    """
    if not tokenizer.chat_template:
        return
    compiled: dict[str, ChatTemplate] = {}

    def rendered(
        messages: Sequence[dict[str, str]], *, tokenize: bool = False, add_generation_prompt: bool = False, **names: Any
    ) -> str:
        if tokenize:
            raise ValueError("render first, then tokenise the text")
        source = tokenizer.get_chat_template()
        if source not in compiled:
            compiled[source] = ChatTemplate(source, dict(tokenizer.special_tokens_map))
        return compiled[source].render(messages, add_generation_prompt=add_generation_prompt, **names)

    tokenizer.apply_chat_template = rendered
