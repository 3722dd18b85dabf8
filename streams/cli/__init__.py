"""The ``dynamicflow`` command. ``main`` and ``recorded`` declare every command and load what one needs when it runs.

running      run                                  reading    runs, show, events, watch, rebuild
publishing   run in a cluster, publish, register  control    cancel, pause, resume, resolve
plans        plan, check                          topics     topics create, list, check
demo         demo, with ``demo_tools``            worker     worker, with ``working``, ``stopping``, ``service_log``

places       where runs are: ``journal_place`` or ``kafka_place``, which reads with ``kafka_log`` and ``kafka_table``
following    a run's log as it grows              view       the tree that fills
inputs       files and arguments -> values        output     the two streams
report       how a run ended                      errors     sentences and exit codes
arguments    options of several commands          defaults   what several commands assume
"""
