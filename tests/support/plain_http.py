"""Requests to the servers of the tests. httpx2's own functions read all certificates for each of them: 20 ms of a core."""

from functools import partial

import httpx2

request = partial(httpx2.request, verify=False, trust_env=False)
get = partial(request, "GET")
post = partial(request, "POST")
put = partial(request, "PUT")
patch = partial(request, "PATCH")
delete = partial(request, "DELETE")
