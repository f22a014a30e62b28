"""Prints the X.509 context at the Workload API's socket as a line of JSON, again at every update, with py-spiffe.

SPIFFE_ENDPOINT_SOCKET says where; ends when its standard input does.
"""
import json
import sys
import threading

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from spiffe import WorkloadApiClient

wrote = threading.Lock()


def public(key):
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def show(context):
    svid = context.default_svid
    bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    line = {
        "spiffe_id": str(svid.spiffe_id),
        "serial": format(svid.leaf.serial_number, "x"),
        "key_matches": public(svid.private_key.public_key()) == public(svid.leaf.public_key()),
        "authorities": len(bundle.x509_authorities),
    }
    with wrote:
        print(json.dumps(line), flush=True)


def fail(error):
    with wrote:
        print(json.dumps({"error": repr(error)}), flush=True)


with WorkloadApiClient() as client:
    stream = client.stream_x509_contexts(on_success=show, on_error=fail)
    sys.stdin.read()
    stream.cancel()
