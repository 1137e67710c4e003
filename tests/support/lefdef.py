"""LEF and DEF files of the public data, with the libraries that each design needs."""

from __future__ import annotations

import json
from typing import Any

from public import CHIP, needs

from sysgym import make_problem
from sysgym.core.data import decompress

LEFDEF = CHIP / "lefdef"
needs_lefdef = needs(LEFDEF)
_LIBRARIES = {  # by how the name of a design begins
    "ariane133_ng45": ("fakeram45_256x16.lef", "nangate45.sites.lef"),
    "ariane133_sky130hd": ("fakeram130_256x16.lef",),
    "ariane136_asap7": ("sram_asap7_16x256_1rw.lef", "asap7_1x.tech.lef"),
    "cases": ("cases.lef",),
    "riscv": ("asap7_1x.tech.lef", "asap7sc7p5t_27_R_1x.lef.gz", "fakeram7_256x32.lef"),
    "place_macro": ("place_macro_right_angle_rotation.lef",),
    "": ("orientation_improve1.lef",),
}
EXPECTED: dict[str, dict[str, Any]] = json.loads((LEFDEF / "expected.json").read_text()) if LEFDEF.exists() else {}
DEFS = tuple(EXPECTED)


# A small design and its library
LEF = """VERSION 5.8 ;
SITE core SIZE 1 BY 2 ; END core
MACRO ram CLASS BLOCK ; SIZE 4 BY 2 ; SYMMETRY X Y R90 ;
  PIN a DIRECTION INPUT ; PORT LAYER m ; RECT MASK 2 0 0 1 1 ; RECT 3 1 4 2 ; END END a
  PIN z DIRECTION OUTPUT ; PORT LAYER m ; RECT ITERATE 0 0 1 1 DO 4 BY 2 STEP 1 1 ; END END z
  PIN vdd DIRECTION INOUT ; USE POWER ; PORT LAYER m ; RECT 0 0 4 1 ; END END vdd
END ram
MACRO inv CLASS CORE ; SIZE 1 BY 2 ; PIN a DIRECTION INPUT ; END a PIN y DIRECTION OUTPUT ; END y END inv
MACRO bump CLASS COVER BUMP ; SIZE 1 BY 1 ; PIN p DIRECTION INOUT ; END p END bump
END LIBRARY
"""
DEF = """VERSION 5.8 ;
DESIGN tiny ;
UNITS DISTANCE MICRONS 100 ;
DIEAREA ( 0 0 ) ( 2000 1000 ) ;
ROW r core 100 200 N DO 10 BY 1 STEP 100 0 ;
COMPONENTS 4 ;
- a ram + PLACED ( 0 0 ) N ;
- b ram + SOURCE DIST + PLACED ( 500 0 ) S + HALO 1 2 3 4 + PROPERTY note "a ; b" ;
- u inv + PLACED ( 50 600 ) N ;
- p bump ;
END COMPONENTS
PINS 2 ;
- in + NET n + DIRECTION INPUT + USE SIGNAL + PORT + LAYER m ( 0 0 ) ( 1 1 ) + PLACED ( 0 70 ) N ;
- vdd + NET vdd + DIRECTION INOUT + USE POWER + PLACED ( 0 80 ) N ;
END PINS
BLOCKAGES 1 ;
- LAYER m RECT ( 0 0 ) ( 1 1 ) ;
END BLOCKAGES
REGIONS 1 ;
- fence ( 0 0 ) ( 9 9 ) ;
END REGIONS
NETS 3 ;
- n ( b a + SYNTHESIZED ) ( a z ) ( PIN in ) ( p p ) + USE SIGNAL + ROUTED m ( 0 0 ) ( 5 * ) + WEIGHT 7 ;
- m ( a a ) ( b a ) ( b z ) ;
- vdd ( PIN vdd ) ( a vdd ) + USE POWER ;
END NETS
END DESIGN
"""
FLAT = DEF.replace("( b z )", "( b z ) ( u y )")  # with a standard cell on a net
CELL = LEF.index("MACRO inv")
FILES = {"floorplan.def": DEF, "chip.def": FLAT, "tech.lef": LEF[CELL:], "rams.lef": LEF[:CELL] + "END LIBRARY\n"}


def libraries(name: str) -> tuple[str, ...]:
    """The LEF files of a design."""
    files = next(files for begin, files in _LIBRARIES.items() if name.startswith(begin))
    return tuple(str(LEFDEF / file) for file in files)


def content(name: str) -> bytes:
    """The bytes of a design, unpacked."""
    return decompress(name, (LEFDEF / name).read_bytes())


def problem_of(name: str, **options: Any) -> Any:
    """The problem with the libraries of a design; components without a master are cells."""
    return make_problem("ChipPlacement", **{"lef": libraries(name), "missing_masters": "cells", **options})


def chip_of(name: str, **options: Any) -> Any:
    """A design as a chip."""
    return problem_of(name, **options).load(str(LEFDEF / name))


def start_of(chip: Any) -> dict[str, Any]:
    """The placement that a chip was read with, as a solution."""
    placement, rows = chip.placement, chip.macros
    return {"x": placement.x[rows], "y": placement.y[rows], "orientation": placement.orientation[rows].astype(int)}
