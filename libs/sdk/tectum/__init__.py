"""Tectum's client SDK: the contracts' stubs, the pure types, the plug-in Protocols, the client
and the command.
"""
