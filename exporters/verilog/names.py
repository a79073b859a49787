"""Verilog identifiers from names that may hold anything."""

from __future__ import annotations

import re

from exporters.c99.names import KEYWORDS as C_KEYWORDS

LIMIT = 48
"""Longest identifier made from a name: long ones are cut."""

_KEYWORDS = """
accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before begin
bind bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class clocking cmos
config const constraint context continue cover covergroup coverpoint cross deassign default defparam design
disable dist do edge else end endcase endchecker endclass endclocking endconfig endfunction endgenerate
endgroup endinterface endmodule endpackage endprimitive endprogram endproperty endsequence endspecify
endtable endtask enum event eventually expect export extends extern final first_match for force foreach
forever fork forkjoin function generate genvar global highz0 highz1 if iff ifnone ignore_bins illegal_bins
implements implies import incdir include initial inout input inside instance int integer interconnect
interface intersect join join_any join_none large let liblist library local localparam logic longint
macromodule matches medium modport module nand negedge nettype new nexttime nmos nor noshowcancelled not
notif0 notif1 null or output package packed parameter pmos posedge primitive priority program property
protected pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase
randsequence rcmos real realtime ref reg reject_on release repeat restrict return rnmos rpmos rtran
rtranif0 rtranif1 s_always s_eventually s_nexttime s_until s_until_with scalared sequence shortint
shortreal showcancelled signed small soft solve specify specparam static string strong strong0 strong1
struct super supply0 supply1 sync_accept_on sync_reject_on table tagged task this throughout time
timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand trior trireg type typedef union unique
unique0 unsigned until until_with untyped use uwire var vectored virtual void wait wait_order wand weak
weak0 weak1 while wildcard wire with within wor xnor xor
"""

_SIMULATOR = """
contextp eval eval_end_step eval_initial eval_settle eval_step eventspending final gf main modelname name
nexttimeslot hiername rootp threads trace top verilated vlnamep vlsymsp work
abstol access acos analog asin atan bool ceil cos exp floor ln log max min pow sin sqrt tan
abs access after all array assertion attribute block body buffer component configuration disconnect
downto elsif entity file fairness generic group guarded impure inertial is label linkage map mod next of
on open others port postponed process pure range record register reject rem report rol ror select sla sll
sra srl subtype then to transport units until variable when
"""

KEYWORDS = frozenset(_KEYWORDS.split()) | C_KEYWORDS | frozenset(_SIMULATOR.split())
"""Words of Verilog, SystemVerilog, Verilog-A, VHDL and C++, and what a simulator in C++ calls its own."""

_OWN = re.compile(r"gf(_.*)?|(u|n)\d+i?|in\d+", re.IGNORECASE)
"""Cells, and what is inside a generated module."""


def identifier(name: str, fallback: str) -> str:
    """Letters, digits and single underscores of ``name``, no word of a language, no name of this exporter.

    Escaped identifiers hold anything, but not every tool reads them.
    """
    text = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", name)).strip("_")[:LIMIT].strip("_")
    if not text or text[0].isdigit():
        text = f"{fallback}_{text}".rstrip("_")
    if text.lower() in KEYWORDS or _OWN.fullmatch(text):
        text = f"{fallback}_{text}"
    return text


class Names:
    """Identifiers of one scope, all different, also for tools that do not tell upper case from lower."""

    def __init__(self, *taken: str) -> None:
        self._taken = {name.lower() for name in taken}

    def new(self, name: str, fallback: str = "value") -> str:
        """An identifier for ``name``."""
        return self.exact(identifier(name, fallback))

    def exact(self, text: str) -> str:
        """``text``, an identifier, with a number behind it where it is taken."""
        found, number = text, 1
        while found.lower() in self._taken:
            number += 1
            found = f"{text}_{number}"
        self._taken.add(found.lower())
        return found


OWN_FILES = re.compile(r"_(tb|stages|synth|inputs|outputs)$", re.IGNORECASE)
"""What a design's further files are called, behind its name."""


def program_name(name: str) -> str:
    """The top module, and what the files of a program begin with: nothing that another's are called.

    ``a_tb`` becomes ``atb``: ``a`` has a testbench of that name.
    """
    return OWN_FILES.sub(r"\1", identifier(name, "net"))
