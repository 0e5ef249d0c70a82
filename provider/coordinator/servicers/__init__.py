"""The coordinator's gRPC services, one a file: who may ask, what was asked, the answer in the wire's words.

Nothing is decided here. A servicer checks the caller's certificate, parses, asks the writer, and answers from
the committed book; what it raises the server's guard puts on the wire.
"""
