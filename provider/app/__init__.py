"""Where it all comes together: configuration, wiring, commands. Only this place names concrete classes."""
