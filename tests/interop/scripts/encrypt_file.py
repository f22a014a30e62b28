"""Encrypts and decrypts a file through the API with grpcio and the published protos.

usage: encrypt_file.py PROTO_DIR ADDRESS BUNDLE.pem CERT.pem KEY.pem KEY_NAME FILE
"""
import sys

import grpc

protos, address, bundle, cert, key, name, path = sys.argv[1:]
sys.path.insert(0, protos)
kms, services = grpc.protos_and_services("chancery/kms/v1/crypto.proto")


def read(file):
    with open(file, "rb") as opened:
        return opened.read()


credentials = grpc.ssl_channel_credentials(read(bundle), read(key), read(cert))
with grpc.secure_channel(address, credentials) as channel:
    crypto = services.CryptoServiceStub(channel)
    context = {"file": path}
    plain = read(path)
    sealed = crypto.Encrypt(kms.EncryptRequest(name=name, plaintext=plain, context=context))
    namespace = "/".join(name.split("/")[:2])
    opened = crypto.Decrypt(kms.DecryptRequest(parent=namespace, ciphertext=sealed.ciphertext, context=context))
    assert opened.plaintext == plain and sealed.ciphertext != plain
    try:
        crypto.Decrypt(kms.DecryptRequest(parent=namespace, ciphertext=sealed.ciphertext))
        sys.exit("decrypted under another context")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
print(f"{len(plain)} bytes encrypted under {name} v{sealed.version} and decrypted")
