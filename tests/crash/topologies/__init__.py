"""The pipelines that are killed, each with the fold that says what an uninterrupted run leaves in the database.

A fold is single-threaded and knows nothing of the runtime: it walks over the messages in order.
"""

from __future__ import annotations

from tests.crash.topologies import shapes, work
from tests.crash.topologies.common import Topology

TOPOLOGIES = {
    each.name: each
    for each in (
        Topology("chain", shapes.build_chain, shapes.fold_chain),
        Topology("splitter", shapes.build_splitter, shapes.fold_splitter),
        Topology("merger", shapes.build_merger, shapes.fold_merger),
        Topology("diamond", shapes.build_diamond, shapes.fold_diamond),
        Topology("fanout", shapes.build_fanout, shapes.fold_fanout),
        Topology("pool", work.build_pool, work.fold_pool),
        Topology("ordered", work.build_ordered, work.fold_ordered),
        Topology("keyed", work.build_keyed, work.fold_keyed),
        Topology("refused", work.build_refused, work.fold_refused),
        Topology("numbers", work.build_numbers, work.fold_numbers),
        Topology("turns", shapes.build_turns, shapes.fold_turns),
        Topology("endings", work.build_endings, work.fold_endings, grows=False),
        Topology("acknowledged", work.build_acknowledged, work.fold_acknowledged),
        Topology("outside", work.build_outside, work.fold_outside),
        Topology("stubborn", work.build_stubborn, work.fold_stubborn),
        Topology("narrow", shapes.build_narrow, shapes.fold_narrow),
    )
}
