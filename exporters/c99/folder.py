"""The files around the generated code, and the layouts they come in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from exporters.c99.names import comment
from exporters.c99.selftest import selftest
from exporters.c99.targets import Target
from runtime.errors import InputError
from runtime.ir import Program
from runtime.version import VERSION

if TYPE_CHECKING:
    from exporters.c99.build import Port, Source

Files = dict[str, bytes]

KEEP_LOOPS = "-fno-tree-loop-distribute-patterns"
"""What GCC needs so that loops stay loops; Clang does without, and does not know it."""

CROSS = {"cortex": "arm-none-eabi-gcc", "rv32": "riscv64-unknown-elf-gcc", "avr": "avr-gcc"}
"""Compilers of targets that are not the machine they are built on, by the beginning of their names."""

WARNINGS = "-pedantic -Wall -Wextra -Werror -ffreestanding"
"""Flags with which every generated file compiles, beside the target's own and its standard."""


def folder_files(source: Source, program: Program, vectors: int, layout: str) -> Source:
    """``source`` with self-test, README and build files in a layout; InputError for an unknown one."""
    if layout not in LAYOUTS:
        raise InputError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r:.80}")
    files = dict(source.files)
    ports = (*source.inputs, *source.outputs)
    vectors = min(vectors, *(source.target.object_bytes // (p.type.size * p.dtype.itemsize) for p in ports))
    if vectors:
        files[f"{source.name}_selftest.c"] = selftest(source, program, vectors).encode()
    readme = _readme(source, program, vectors, layout).encode()
    return replace(source, files=LAYOUTS[layout](source, files) | {"README.md": readme})


def _plain(source: Source, files: Files) -> Files:
    return files | {
        "Makefile": _makefile(source).encode(),
        "CMakeLists.txt": _cmake(source).encode(),
    }


def _flags(target: Target) -> str:
    return " ".join((target.optimize, *target.gcc))


def _strict(target: Target) -> str:
    return f"-std={target.standard} {WARNINGS}"


def _compiler(target: Target) -> str:
    return next((name for start, name in CROSS.items() if target.name.startswith(start)), "cc")


def _makefile(source: Source) -> str:
    name, compiler = source.name, _compiler(source.target)
    test = _CROSS_TEST if compiler != "cc" else _HOST_TEST
    return f"""# make: the library. make test: the self-test, on this machine. CC=..., CFLAGS=... as usual.
ifeq ($(origin CC),default)
CC = {compiler}
endif
CFLAGS ?= {_flags(source.target)}
GATEFOLD_FLAGS = {_strict(source.target)} $(KEEP_LOOPS)

# GCC makes calls of memset and memcpy of loops, which a system without a library lacks.
KEEP_LOOPS := $(shell $(CC) {KEEP_LOOPS} -Werror -E -x c /dev/null >/dev/null 2>&1 && echo {KEEP_LOOPS})

all: lib{name}.a

%.o: %.c {name}.h {name}_weights.h gatefold_kernels.h
\t$(CC) $(CFLAGS) $(GATEFOLD_FLAGS) -c $< -o $@

lib{name}.a: {name}.o {name}_weights.o
\t$(AR) rcs $@ $^

{test.format(name)}
clean:
\trm -f *.o lib{name}.a {name}_selftest

.PHONY: all test clean
"""


_HOST_TEST = """{0}_selftest: {0}_selftest.o lib{0}.a
\t$(CC) $(CFLAGS) $^ -o $@

test: {0}_selftest
\t./{0}_selftest && echo passed
"""

_CROSS_TEST = """HOSTCC ?= cc

{0}_selftest: {0}_selftest.c {0}.c {0}_weights.c {0}.h {0}_weights.h gatefold_kernels.h
\t$(HOSTCC) -O2 -std=c99 $(filter %.c,$^) -o $@

# the same C on the machine that builds it
test: {0}_selftest
\t./{0}_selftest && echo passed
"""


def _cmake(source: Source) -> str:
    name = source.name
    extensions = "ON" if source.target.harvard else "OFF"
    flags, unless = _flags(source.target), ""
    if _compiler(source.target) != "cc":  # the self-test is for the machine that builds it
        flags, unless = (
            f"$<$<BOOL:${{CMAKE_CROSSCOMPILING}}>:{flags.replace(' ', ';')}>",
            " AND NOT CMAKE_CROSSCOMPILING",
        )
    return f"""cmake_minimum_required(VERSION 3.10)
project({name} C)

add_library({name} STATIC {name}.c {name}_weights.c)
set_target_properties({name} PROPERTIES C_STANDARD 99 C_EXTENSIONS {extensions})
target_include_directories({name} PUBLIC ${{CMAKE_CURRENT_SOURCE_DIR}})
target_compile_options({name} PRIVATE {flags} -ffreestanding
  $<$<C_COMPILER_ID:GNU>:{KEEP_LOOPS}>)

enable_testing()
if(EXISTS ${{CMAKE_CURRENT_SOURCE_DIR}}/{name}_selftest.c{unless})
  add_executable({name}_selftest {name}_selftest.c)
  target_link_libraries({name}_selftest {name})
  add_test(NAME {name}_selftest COMMAND {name}_selftest)
endif()
"""


def _arduino(source: Source, files: Files) -> Files:
    name = source.name
    found = {f"src/{path}": content for path, content in files.items() if not path.endswith("_selftest.c")}
    test = files.get(f"{name}_selftest.c")
    properties = f"""name={name}
version=0.1.0
author=Gatefold {VERSION}
maintainer=generated
sentence=An integer neural network as plain C.
paragraph=Generated by Gatefold. No heap, no floating point, one call.
category=Data Processing
url=https://example.invalid/gatefold
architectures=*
includes={name}.h
"""
    found["library.properties"] = properties.encode()
    if test is not None:
        # an included .c of the sketch is not compiled by itself
        found[f"examples/selftest/{name}_selftest.h"] = f"#define {name}_NO_MAIN\n".encode() + test
        found["examples/selftest/selftest.ino"] = f"""#include <{name}.h>
#include "{name}_selftest.h"

void setup() {{
  Serial.begin(115200);
  while (!Serial) {{
  }}
  Serial.println({name}_selftest() ? "FAILED" : "passed");
}}

void loop() {{}}
""".encode()
    return found


def _zephyr(source: Source, files: Files) -> Files:
    name = source.name
    option = f"GATEFOLD_{name.upper()}"
    headers = {f"{name}.h"}
    found = {f"include/{path}" if path in headers else f"src/{path}": c for path, c in files.items()}
    found["zephyr/module.yml"] = b"build:\n  cmake: .\n  kconfig: Kconfig\n"
    found["Kconfig"] = f"""config {option}
\tbool "The network {name}, generated by Gatefold"
\thelp
\t  Needs {source.arena_bytes} bytes of working memory while it runs.

config {option}_SELFTEST
\tbool "Its self-test, {name}_selftest()"
\tdepends on {option}
""".encode()
    found["CMakeLists.txt"] = f"""if(CONFIG_{option})
  zephyr_include_directories(include)
  zephyr_library_named({name})
  zephyr_library_sources(src/{name}.c src/{name}_weights.c)
  zephyr_library_sources_ifdef(CONFIG_{option}_SELFTEST src/{name}_selftest.c)
  zephyr_library_compile_definitions({name}_NO_MAIN)
endif()
""".encode()
    return found


LAYOUTS: dict[str, Callable[[Source, Files], Files]] = {
    "plain": _plain,
    "arduino": _arduino,
    "zephyr": _zephyr,
}
"""How the files lie in the folder."""


def _port_row(port: Port, direction: str) -> str:
    shape = "x".join(map(str, port.type.shape)) or "scalar"
    return f"| `{port.c_name}` | {direction} | `{port.c_type}` | {shape} | {port.type.interval} |"


USES: dict[str, tuple[str, str]] = {
    "plain": (
        "Compile `{name}.c` and `{name}_weights.c`, for example:\n\n"
        "```\n{compiler} {flags} -c {name}.c {name}_weights.c\n```",
        "`{name}_selftest.c` runs {vectors} embedded samples and returns 0 when all is right; `make test`\n"
        "does so on the machine that builds it.",
    ),
    "arduino": (
        "Put this folder into `libraries/` of the Arduino sketchbook. It is made for the flags\n`{flags}`.",
        "The example `selftest` runs {vectors} embedded samples and prints `passed` when all is right.",
    ),
    "zephyr": (
        "Name this folder in `ZEPHYR_EXTRA_MODULES` and set `CONFIG_GATEFOLD_{upper}=y`. It is made for\n"
        "the flags `{flags}`.",
        "With `CONFIG_GATEFOLD_{upper}_SELFTEST=y`, `{name}_selftest()` runs {vectors} embedded\n"
        "samples and returns 0 when all is right.",
    ),
}
"""How each layout is built, and how its self-test is run."""


def _readme(source: Source, program: Program, vectors: int, layout: str) -> str:
    name = source.name
    words = {"name": name, "upper": name.upper(), "vectors": vectors, "compiler": _compiler(source.target)}
    use, test = (
        text.format(**words, flags=f"{_flags(source.target)} {_strict(source.target)}")
        for text in USES[layout]
    )
    rows = [_port_row(p, "in") for p in source.inputs] + [_port_row(p, "out") for p in source.outputs]
    arrays = ", ".join(p.c_name for p in (*source.inputs, *source.outputs))
    tested = f"\n{test}\n" if vectors else ""
    table = "\n".join(rows)
    return f"""# {name}

The integer program {comment(program.name)} as C99, generated by Gatefold {VERSION} for {source.target.name}
({source.target.summary}). It needs no library, no heap and no floating point.

```c
#include "{name}.h"

static union {{ uint64_t align; uint8_t bytes[{name}_ARENA_BYTES]; }} memory;

int error = {name}_run({arrays}, memory.bytes, sizeof memory.bytes);
```

| array | direction | type | shape | range |
|---|---|---|---|---|
{table}

Arrays hold one sample, row-major, channels first. The call returns `{name}_OK` (0), or an error and writes
nothing. It keeps no state: calls may run at once, each with an arena of its own.

| what | bytes |
|---|---|
| arena, aligned to {source.arena_align} | {source.arena_bytes:,} |
| constants | {source.constant_bytes:,} |

{use}

{_HARVARD if source.target.harvard else _ANYWHERE}
On a system without a library GCC needs `{KEEP_LOOPS}` too, or it calls `memset`.
{tested}"""


_ANYWHERE = (
    "Other flags and compilers give the same results; vectors of another width than the target's are "
    "emulated."
)

_HARVARD = (
    "Constants lie in flash (`__flash`) and take no RAM; stack and the caller's arrays come on top of the\n"
    "arena, whose alignment an AVR does not mind. Other levels give the same results. `-std=c99`, C++ and\n"
    "Clang are refused for the two `.c` files: they would put constants into RAM or read them wrongly. On\n"
    "other machines it is plain C99."
)
