"""The ``dynamicflow`` command. ``main`` declares every command and loads what one needs when it runs.

running    run                                  reading    runs, show, events, watch, rebuild
plans      plan, check                          control    cancel, resolve
demo       demo, with ``demo_tools``               worker     worker: ``working`` runs it, ``stopping`` and
                                                           ``service_log`` are its signals and its log
inputs     files and arguments -> values        following  a run's log as it grows
output     the two streams                      view       the tree that fills
report     how a run ended                      errors     sentences and exit codes
defaults   what several commands assume
"""
