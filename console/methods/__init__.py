"""Unlearning and editing methods: one file a method, with the loop, losses and registry beside them."""
