"""A project on top of the core, as small as one can be: sequences of made-up features, told rising from falling.

It has what the real ones have: a config section, sequences of unequal length, a frozen base that no checkpoint holds,
bad samples, and a second stage that starts from what the first one left.
"""
