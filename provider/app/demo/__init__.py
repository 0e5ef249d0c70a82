"""The whole market on one machine, what ``provider demo`` does: ``story`` tells it, ``stage`` holds it."""
