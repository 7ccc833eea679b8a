"""weaver up, down, restart, supervise, open, audit, version: the verbs about the factory as a whole.

Place in the flow: each calls one function of weaver.lifecycle, weaver.supervisor, core.accounting or the web process, and says
what happened. Invariant: messages for people go to stderr, what a program may read (URLs, JSON) to stdout.
"""
