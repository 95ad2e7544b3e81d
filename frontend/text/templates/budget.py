"""Bounds what one rendering may cost, in time and in memory, however its template is written.

A template comes from a worker and runs on the event loop. Loops and macros ask the budget for every
turn, since only Python between two operations can be stopped; what a single operation can take
beforehand by its operands is asked for before it begins. So nothing runs for long in one piece, and
nothing large is made unasked: values are weighed wherever an operation would walk all of them,
because a list that holds itself twice, thirty times over, is small and has a billion leaves.
"""

from time import thread_time
from typing import Any, Final, cast

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame, operators
from jinja2.runtime import Context
from jinja2.utils import Namespace

CPU_S_MAX: Final = 0.5
"""Bounds the CPU time of one rendering; a conversation of ten thousand messages takes a tenth of
it.
"""

MADE_BYTES_MAX: Final = 192 * 1024 * 1024
"""Bounds all that one rendering makes, most of which it drops again at once: four copies of the
largest prompt.
"""

WEIGHT_MAX: Final = 1_000_000
"""Bounds a value that is walked as a whole, in values and pieces of text of CHARS_PER_WEIGHT: the
text of the largest body has fewer.
"""

CHARS_PER_WEIGHT: Final = 64
_TURNS_PER_LOOK: Final = 32
POINTER_BYTES: Final = 8
_LARGE_CHARS: Final = 64 * 1024
_LARGE_WEIGHT: Final = _LARGE_CHARS // CHARS_PER_WEIGHT
_CONTAINERS: Final = frozenset((dict, list, tuple, set, Namespace))
_TICK: Final = "tick the budget"


class TemplateTooCostly(Exception):
    """A TemplateTooCostly says that a template needs more than it may for these messages; its text
    says of what.
    """


class Budget:
    """A Budget counts what one rendering costs."""

    __slots__ = ("_made", "_turns", "_until_s")

    def __init__(self) -> None:
        self._made = self._turns = 0
        self._until_s = 0.0
        """Is when the rendering's time ends, by the thread's clock, which costs a system call: it
        begins with the first look, so that a short chat does without; 0 until then. What goes
        uncounted is less than _TURNS_PER_LOOK turns.
        """

    def turn(self) -> None:
        """Counts a turn that a loop or a macro begins."""
        self._turns += 1
        if not self._turns % _TURNS_PER_LOOK:
            self.look()

    def look(self) -> None:
        """Looks how much time is spent.

        Raises:
            TemplateTooCostly: too much.
        """
        now = thread_time()
        if not self._until_s:
            self._until_s = now + CPU_S_MAX
        elif now > self._until_s:
            raise TemplateTooCostly("time")

    def make(self, size_bytes: int) -> None:
        """Counts something of this size that is about to be made, or was.

        Raises:
            TemplateTooCostly: more than there may be altogether.
        """
        self._made += size_bytes
        if self._made > MADE_BYTES_MAX:
            raise TemplateTooCostly("memory")

    def weigh(self, value: Any) -> int:
        """Returns how many values and pieces of text there are in `value`, with all of which
        something will be done.

        Raises:
            TemplateTooCostly: too many.
        """
        weight, waiting = 0, [value]
        while waiting:
            one = waiting.pop()
            kind = type(one)  # pyright: ignore[reportUnknownVariableType]  # a cast is a call
            weight += 1
            if kind is str:
                weight += len(one) // CHARS_PER_WEIGHT
            elif kind is list or kind is tuple or kind is set:
                waiting += one
            elif kind is dict:
                waiting += one
                waiting += one.values()
            elif kind is Namespace:
                waiting.append(one._Namespace__attrs)
            else:
                continue
            if weight + len(waiting) > WEIGHT_MAX:
                raise TemplateTooCostly("time")
        if weight > _LARGE_WEIGHT:
            self.look()
        return weight


class BudgetedContext(Context):
    """A BudgetedContext holds a rendering's names, and its budget, which whoever begins the
    rendering gives it; BudgetedCode calls it.
    """

    budget: Budget

    def derived(self, locals: dict[str, Any] | None = None) -> Context:  # noqa: A002 - Jinja's name
        """Returns the context for a block, with the budget of the same rendering."""
        context = super().derived(locals)
        cast("BudgetedContext", context).budget = self.budget
        return context

    def text_of(self, value: Any) -> str:
        """Returns what str() gives."""
        if type(value) is str:
            return value
        if type(value) in _CONTAINERS:
            self.budget.make(CHARS_PER_WEIGHT * self.budget.weigh(value))
        return str(value)

    def added(self, left: Any, right: Any) -> Any:
        """Returns what + gives."""
        if isinstance(left, str):
            self.budget.make(len(left) + len(right) if isinstance(right, str) else 0)
        elif isinstance(left, list | tuple):
            self.budget.make(POINTER_BYTES * (len(cast("list[Any]", left)) + len(right)))
        return cast("Any", left) + right

    def joined(self, values: tuple[Any, ...]) -> str:
        """Returns what ~ gives."""
        return self.concat([self.text_of(value) for value in values])

    def concat(self, texts: list[str]) -> str:
        """Returns what a macro, a block or an assignment has printed."""
        self.budget.make(sum([len(text) for text in texts]))
        return "".join(texts)

    def compared(self, value: Any) -> Any:
        """Returns an operand of a comparison that may walk all of it, once it has been weighed."""
        if type(value) in _CONTAINERS:
            self.budget.weigh(value)
        elif type(value) is str and len(value) > _LARGE_CHARS:
            self.budget.look()
        return value


class BudgetedCode(CodeGenerator):
    """BudgetedCode generates Jinja's own code with the budget asked.

    Where one side is a constant of the template, what it adds is bounded by the source.
    """

    def visit_For(self, node: nodes.For, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        node.body.insert(0, _tick())
        super().visit_For(node, frame)

    def macro_body(self, node: Any, frame: Frame) -> Any:
        node.body.insert(0, _tick())
        return super().macro_body(node, frame)

    def visit_ExprStmt(self, node: nodes.ExprStmt, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        if isinstance(node.node, nodes.Const) and node.node.value is _TICK:
            self.writeline("turn()")
        else:
            super().visit_ExprStmt(node, frame)

    def visit_Add(self, node: nodes.Add, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        if isinstance(node.left, nodes.Const) or isinstance(node.right, nodes.Const):
            super().visit_Add(node, frame)
        else:
            self._call("added", node.left, node.right, frame=frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        self.write("joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        if _is_constant(node.expr) or all(_is_constant(operand.expr) for operand in node.ops):
            super().visit_Compare(node, frame)
            return
        self.write("(")
        self._call("compared", node.expr, frame=frame)
        for operand in node.ops:
            self.write(f" {operators[operand.op]} ")
            self._call("compared", operand.expr, frame=frame)
        self.write(")")

    def _call(self, method: str, *arguments: nodes.Expr, frame: Frame) -> None:
        self.write(f"{method}(")
        for argument in arguments:
            self.visit(argument, frame)
            self.write(", ")
        self.write(")")

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:  # noqa: ARG002 - Jinja's name
        self.write("text_of(")

    def write_commons(self) -> None:
        super().write_commons()
        for name in ("text_of", "added", "joined", "compared", "concat"):
            self.writeline(f"{name} = context.{name}")
        self.writeline("turn = context.budget.turn")


def _is_constant(node: nodes.Expr) -> bool:
    return isinstance(node, nodes.Const) or (
        isinstance(node, nodes.List | nodes.Tuple) and all(map(_is_constant, node.items))
    )


def _tick() -> nodes.ExprStmt:
    return nodes.ExprStmt(nodes.Const(_TICK))
