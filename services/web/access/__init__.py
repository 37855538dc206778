"""Who may call a service: from which hosts and origins, and with which keys.

A request passes three guards before anything else reads it:

1. `HostGuard`: the name in ``Host`` is one of ours, so no page can reach the service through a rebound DNS name;
2. `OriginGuard`: nothing but a GET is answered for a page of another origin, unless that origin is allowed;
3. `KeyGuard`: with keys, the key of the request has the role that `roles.ENDPOINTS` asks for.
"""
