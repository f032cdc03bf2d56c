"""Perfetto's protobuf, through the builder of its own package: for ui.perfetto.dev and trace_processor."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from emu.errors import NotSupportedError
from emu.export_timeline import BEGIN, END, Mark, Timeline, tracks

SEQUENCE = 1
COUNTERS = 20_000
GROUPS = {"CPUs": 1_000_001, "locks": 1_000_002, "counters": 1_000_003}


def need_perfetto() -> None:
    """Refuse, naming the extra."""
    if find_spec("perfetto") is None:
        raise NotSupportedError(
            "--format perfetto needs the package perfetto, which is not installed: pip install 'percpu-emu[trace]'; "
            "--format chrome needs none, and Perfetto reads it too"
        )


def perfetto(made: Timeline) -> bytes:
    """The trace as a serialized perfetto.protos.Trace."""
    need_perfetto()
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackDescriptor, TrackEvent
    from perfetto.trace_builder.proto_builder import TraceProtoBuilder

    builder = TraceProtoBuilder()
    for name, uuid in GROUPS.items():
        _describe(builder, uuid, name)
    for group, name, number, marks in tracks(made):
        uuid = number + 1
        _describe(builder, uuid, name, GROUPS[group])
        for mark in marks:
            _mark(builder, uuid, mark, TrackEvent)
    for number, (name, points) in enumerate(made.counters.items()):
        uuid = COUNTERS + number
        packet = _describe(builder, uuid, name, GROUPS["counters"])
        packet.track_descriptor.counter.unit = TrackDescriptor().counter.UNIT_COUNT
        for ns, value in points:
            packet = _packet(builder, ns)
            packet.track_event.type = TrackEvent.TYPE_COUNTER
            packet.track_event.track_uuid = uuid
            packet.track_event.counter_value = value
    whole: bytes = builder.serialize()
    return whole


def _describe(builder: Any, uuid: int, name: str, parent: int = 0) -> Any:
    packet = builder.add_packet()
    packet.track_descriptor.uuid = uuid
    packet.track_descriptor.name = name
    if parent:
        packet.track_descriptor.parent_uuid = parent
    return packet


def _packet(builder: Any, ns: int) -> Any:
    packet = builder.add_packet()
    packet.timestamp = ns
    packet.trusted_packet_sequence_id = SEQUENCE
    return packet


def _mark(builder: Any, uuid: int, mark: Mark, event: Any) -> None:
    packet = _packet(builder, mark.ns)
    made = packet.track_event
    made.track_uuid = uuid
    if mark.kind == END:
        made.type = event.TYPE_SLICE_END
        return
    made.type = event.TYPE_SLICE_BEGIN if mark.kind == BEGIN else event.TYPE_INSTANT
    made.name = mark.name
    made.categories.append("emu")
    if mark.flow:
        (made.terminating_flow_ids if mark.ends else made.flow_ids).append(mark.flow)
    for key, value in mark.args.items():
        annotation = made.debug_annotations.add()
        annotation.name = key
        if isinstance(value, int):
            annotation.int_value = value
        else:
            annotation.string_value = str(value)
