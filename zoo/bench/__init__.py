"""Timings of training steps, samplers, flows and memory against other libraries, interleaved in one process.

Nothing else imports it; other libraries are optional and are skipped, with the reason, where they are not installed.
"""
