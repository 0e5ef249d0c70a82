"""Shipped fakes of every port, the simulated world and its checkers.

Product code: ``provider demo`` runs on the simulated GPUs, the contract suites run on every fake, and a
whole market is run from one seed in virtual time.
"""
