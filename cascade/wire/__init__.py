"""The two wire formats of typed questions: ``/v1/systemone`` (TypeSafe) and ``/v1/decisions`` (OpenAI). Pure.

The service reads and writes them, and the servers that we ask speak them, so both sides have the same forms.
"""
