"""The Kafka shell: requests in, events out, any number of workers (design §6).

``topics`` and ``settings`` are data; ``records`` says what is on the wire; ``intake``, ``scheduler``, ``executor`` and
``planning`` are the roles of a worker, ``worker`` puts them into one Faust application; ``engine`` is the client.
"""
