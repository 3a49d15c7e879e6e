"""Views: each shows what its view-model says, and says upwards what was pressed. No decisions
here.
"""
