"""The loop that drives the core: event, transition, commit, observe, perform. Read ``loop`` first."""
