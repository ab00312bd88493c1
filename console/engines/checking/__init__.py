"""One check of a model before anything trusts it: at ``model add``, and again in the worker before it is loaded.

``plain_files`` is about what lies on the disk, ``model_json`` about settings, ``weights_table`` and ``weights_values``
about tensors, ``chat_template`` about the small program that a model brings, ``network`` about what the library makes
of all of it. Only ``network`` imports a compute library.
"""
