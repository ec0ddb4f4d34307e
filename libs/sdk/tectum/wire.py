"""Convert between plain data classes and protobuf messages by their field names."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

T = TypeVar("T")
M = TypeVar("M", bound=Message)

_Put = Callable[[Message, Any], None]
_Get = Callable[[Message], Any]


def to_wire(value: Any, message_type: type[M]) -> M:
    """Return `value`, a data class, as a message of `message_type`.

    Fields correspond by name; a field whose type is a union of data classes (or of a data class
    and `str`)
    is the `oneof` of its name; an enum's value `a_b` is the wire's `<ENUM_TYPE>_A_B`.

    Raises:
        TypeError: a field has no counterpart.
    """
    message = message_type()
    for put in _plan(type(value), message_type)[0]:
        put(message, value)
    return message


def from_wire(message: Message, cls: type[T]) -> T:
    """Return `message` as a `cls`; what the wire leaves unset becomes the field's default.

    Raises:
        ValueError: a required field is unset, or an enum is unspecified.
    """
    values: dict[str, Any] = {}
    for name, get in _plan(cls, type(message))[1]:
        value = get(message)
        if value is not dataclasses.MISSING:
            values[name] = value
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"{type(message).DESCRIPTOR.full_name}: {error}") from None


_plans: dict[tuple[type, type[Message]], tuple[list[_Put], list[tuple[str, _Get]]]] = {}
"""What was worked out once for each pair of types; bounded by the types that there are."""


def _plan(cls: type, message_type: type[Message]) -> tuple[list[_Put], list[tuple[str, _Get]]]:
    known = _plans.get((cls, message_type))
    if known is None:
        known = _plans[cls, message_type] = _work_out(cls, message_type)
    return known


def _work_out(cls: type, message_type: type[Message]) -> tuple[list[_Put], list[tuple[str, _Get]]]:
    hints = typing.get_type_hints(cls)
    puts: list[_Put] = []
    gets: list[tuple[str, _Get]] = []
    for field in dataclasses.fields(cls):
        put, get = _field(field.name, hints[field.name], message_type)
        puts.append(put)
        gets.append((field.name, get))
    return puts, gets


def _field(name: str, hint: Any, message_type: type[Message]) -> tuple[_Put, _Get]:
    descriptor = message_type.DESCRIPTOR
    if name in descriptor.oneofs_by_name:
        return _oneof(name, hint, message_type)
    if name not in descriptor.fields_by_name:
        raise TypeError(f"{descriptor.full_name} has no field {name!r}")
    members = [member for member in _members(hint) if member is not type(None)]
    optional = len(members) != len(_members(hint))
    inner = members[0]
    origin = typing.get_origin(inner)
    field = descriptor.fields_by_name[name]
    if origin is tuple:
        return _repeated(name, typing.get_args(inner)[0])
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(name)
    if dataclasses.is_dataclass(inner):
        return _nested(name, typing.cast("type", inner), optional=optional)
    if isinstance(inner, type) and issubclass(inner, enum.Enum):
        return _enum(name, inner, typing.cast("EnumDescriptor", field.enum_type))
    return (
        lambda message, value: setattr(message, name, getattr(value, name)),
        lambda message: getattr(message, name),
    )


def _members(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return typing.get_args(hint)
    return (hint,)


def _oneof(name: str, hint: Any, message_type: type[Message]) -> tuple[_Put, _Get]:
    by_type: dict[type, str] = {}
    by_field: dict[str, type] = {}
    members = {member.__name__: member for member in _members(hint)}
    for field in message_type.DESCRIPTOR.oneofs_by_name[name].fields:
        member = members["str" if field.message_type is None else field.message_type.name]
        by_type[member], by_field[field.name] = field.name, member

    def put(message: Message, value: Any) -> None:
        chosen = getattr(value, name)
        target = by_type[type(chosen)]
        if isinstance(chosen, str):
            setattr(message, target, chosen)
        else:
            slot = getattr(message, target)
            slot.SetInParent()
            slot.CopyFrom(to_wire(chosen, type(slot)))

    def get(message: Message) -> Any:
        field = message.WhichOneof(name)
        if field is None:
            return dataclasses.MISSING
        chosen = getattr(message, field)
        return chosen if by_field[field] is str else from_wire(chosen, by_field[field])

    return put, get


def _repeated(name: str, inner: Any) -> tuple[_Put, _Get]:
    if not dataclasses.is_dataclass(inner):
        return (
            lambda message, value: getattr(message, name).extend(getattr(value, name)),
            lambda message: tuple(getattr(message, name)),
        )
    element = typing.cast("type", inner)

    def put(message: Message, value: Any) -> None:
        target = getattr(message, name)
        for item in getattr(value, name):
            slot = target.add()
            for fill in _plan(element, type(slot))[0]:
                fill(slot, item)

    return put, lambda message: tuple(from_wire(item, element) for item in getattr(message, name))


def _mapping(name: str) -> tuple[_Put, _Get]:
    return (
        lambda message, value: getattr(message, name).update(getattr(value, name)),
        lambda message: dict(getattr(message, name)),
    )


def _nested(name: str, inner: type, *, optional: bool) -> tuple[_Put, _Get]:
    def put(message: Message, value: Any) -> None:
        chosen = getattr(value, name)
        if chosen is None:
            return
        slot = getattr(message, name)
        slot.SetInParent()
        for fill in _plan(inner, type(slot))[0]:
            fill(slot, chosen)

    def get(message: Message) -> Any:
        if not message.HasField(name):
            return None if optional else dataclasses.MISSING
        return from_wire(getattr(message, name), inner)

    return put, get


def _enum(name: str, inner: type[enum.Enum], kind: EnumDescriptor) -> tuple[_Put, _Get]:
    prefix = "".join(f"_{c}" if c.isupper() and i else c.upper() for i, c in enumerate(kind.name))
    numbers = {
        member: kind.values_by_name[f"{prefix}_{member.value.upper()}"].number for member in inner
    }
    members = {number: member for member, number in numbers.items()}

    def put(message: Message, value: Any) -> None:
        setattr(message, name, numbers[getattr(value, name)])

    def get(message: Message) -> Any:
        return members.get(getattr(message, name), dataclasses.MISSING)

    return put, get
