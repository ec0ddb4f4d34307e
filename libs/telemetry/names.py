"""Every name in telemetry, once: spans, attributes and their values; OpenTelemetry's own where they fit."""

from __future__ import annotations

from typing import Final

# The library that makes the spans.
SCOPE: Final = "tectum"

# Spans. Those of gRPC are named after the method, /package.Service/Method without the first slash.
INVOKE_AGENT: Final = "invoke_agent"
"""A turn's decision by a planner; GenAI conventions add the agent's name: `invoke_agent exemplar`."""
EXECUTE_TOOL: Final = "execute_tool"
"""One action at the last link: `execute_tool gui.click`."""
OBSERVE: Final = "tectum.observe"
"""Looking at the environment after an action."""
SETTLE: Final = "tectum.settle"
"""Waiting until the environment is quiet."""
DECIDE_POLICY: Final = "tectum.decide"
"""The guard's decision about one plan."""
ASK_LEASE: Final = "tectum.ask_lease"
WRITE_STARTED: Final = "tectum.write_started"
"""From publishing Started until it is known to be the first."""
SEND: Final = "send"
"""Appending to the log: `send tectum.plans`."""
PROCESS: Final = "process"
"""Handling one record of the log: `process tectum.plans`."""

# GenAI semantic conventions.
GEN_AI_OPERATION: Final = "gen_ai.operation.name"
GEN_AI_CONVERSATION: Final = "gen_ai.conversation.id"
"""The session id. A trace with a span that has it belongs to the session."""
GEN_AI_AGENT: Final = "gen_ai.agent.name"
"""The planner's strategy."""
GEN_AI_TOOL: Final = "gen_ai.tool.name"
"""Kind and name of an action: `gui.click`."""
GEN_AI_TOOL_CALL: Final = "gen_ai.tool.call.id"
"""`session_id/step`."""
GEN_AI_MODEL: Final = "gen_ai.request.model"

# RPC conventions.
RPC_SYSTEM: Final = "rpc.system"
RPC_SERVICE: Final = "rpc.service"
RPC_METHOD: Final = "rpc.method"
RPC_STATUS: Final = "rpc.grpc.status_code"
"""Number of the status, 0 to 16."""
ERROR_TYPE: Final = "error.type"
"""The error's reason, UPPER_SNAKE; of a bug INTERNAL_ERROR."""

# Messaging conventions.
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_TOPIC: Final = "messaging.destination.name"
MESSAGING_PARTITION: Final = "messaging.destination.partition.id"
MESSAGING_OFFSET: Final = "messaging.kafka.offset"
MESSAGING_GROUP: Final = "messaging.consumer.group.name"
MESSAGING_OPERATION: Final = "messaging.operation.type"
MESSAGING_ID: Final = "messaging.message.id"

# Tectum's own.
STEP: Final = "tectum.step"
EPOCH: Final = "tectum.epoch"
HOME: Final = "tectum.home"
TENANT: Final = "tectum.tenant"
EVENT_TYPE: Final = "tectum.event.type"
VERDICT: Final = "tectum.verdict"
INCIDENT: Final = "tectum.incident"

# Values.
GRPC: Final = "grpc"
MESSAGING_SYSTEM_TECTUM: Final = "tectum"
"""The embedded log; Kafka's is `kafka`."""
