"""The official client's API: models, variants, instances and their conversion.

The contract was measured with hubai-sdk 0.3.4, request by request.
"""
