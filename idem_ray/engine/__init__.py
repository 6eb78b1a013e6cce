"""vLLM, and text made into tokens: one engine, the loop by which many callers share it, the chat templates.

The only room that imports vllm, and lazily. May not know of samples' meaning, judges or Ray.
"""
