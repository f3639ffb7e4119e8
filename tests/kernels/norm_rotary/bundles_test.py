"""The benchmark's count of bundles, on a listing in small."""

import pytest

from benchmarks import compiler_reports

LISTING = """
LB: loop body
     0   :  { %8 = vsyncpa [#allocation6], 0 }
   0x1 LB: > { %s1 = sphi %s0, %s23 }
   0x2   : > { %s2 = smov 0 }
   0x3 LB: >> { %v1 = vld [vmem:[%s3]] /* a comment
 of two lines */  ;;  %s4 = sadd.s32 1, %s2 }
   0x4   : >> { %p5 = scmp.ge.s32.totalorder %s4, 10 /* loop exit test */ }
   0x5   : > { %s6 = smov (%p5), 0 /* copy */ }
   0x6   : >> { %7 = sbr.rel (!%p5) target = $region1 }
   0x7   :  {}
   0x8   : > { %v2 = vld [vmem:[%s3]] }
   0x9 LB: >> { %p8 = scmp.ge.s32.totalorder %s9, 4 /* loop exit test */ }
   0xa   : >> { %9 = sbr.rel (!%p8) target = $region2 }
   0xb   : > { %p10 = scmp.ge.s32.totalorder %s23, 43 /* loop exit test */ }
   0xc   :  {}
"""


def test_a_loop_counts_as_often_as_it_turns():
  # Five bundles ten times and two four times, the delay slot 0x7 with them.
  straight = 13 - 5 - 2
  found = compiler_reports.executed_bundles(LISTING)
  assert found == straight + 10 * 5 + 4 * 2


def test_a_loop_without_turns_is_an_error():
  with pytest.raises(ValueError):
    compiler_reports.executed_bundles(LISTING.replace("%s4, 10", "%s4, %s5"))
