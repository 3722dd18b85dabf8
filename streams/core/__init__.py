"""The run as a fold: ``apply(state, fact) -> commands``. No clock, no IO, no randomness; state is changed in place.

    events       what stands in a log; ``codec`` has its bytes
    program      a plan, compiled: names resolved, edges counted
    state        what is true of a run after a prefix of its log
    commands     what the fold asks of its shell
    fold         the facts, one handler each                  turn          one fact's consequences, as an agenda
    lifecycle    how any node starts, ends, fails             graph         the top of a run: edges, skipping, the end
    leaves       tool, value, wait                            owners        conditional, switch, sequence, parallel
    collections  map, filter, reduce, loops
    result       the record of how a run ended or stands      weigh         whether a composed value is too large
    derive       what readers see and nobody stores           snapshot      a state as JSON, and back

Read ``events``, ``state``, ``fold``, then the node kind you came for.
"""
