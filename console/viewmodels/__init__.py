"""What each view shows, decided without Qt and tested without a display.

The one rule: a view-model turns a snapshot into words, tones and numbers; it never paints, waits
or sends.
"""
