"""The S3 server of a campaign: what its bucket holds are files, and it answers only who may ask."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from faultkit.checkpointers.servers import BUCKET, S3Address, s3
from faultkit.exceptions import HarnessError
from tests.helpers.stuck import GONE_SECONDS_MAX, SECONDS_MAX

PART_BYTES = 5 << 20  # the least that S3 takes of a part that is not the last


def client_of(server, key=""):
    address = S3Address(server)
    return boto3.client(
        "s3",
        endpoint_url=address.endpoint,
        region_name="us-east-1",
        aws_access_key_id=key or address.key,
        aws_secret_access_key="any",
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.fixture
def client(server):
    return client_of(server)


def at(path):
    return {"Bucket": BUCKET, "Key": str(path).lstrip("/")}


def listed(client, path):
    found = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{path}/".lstrip("/"))
    return {f"/{one['Key']}": one["Size"] for one in found.get("Contents", ())}


def test_an_object_is_a_file(client, tmp_path):
    path = tmp_path / "step-1" / "data"
    client.put_object(**at(path), Body=b"saved")
    assert path.read_bytes() == b"saved" and listed(client, tmp_path) == {str(path): 5}

    client.copy_object(**at(tmp_path / "copy"), CopySource=at(path))
    client.delete_object(**at(path))
    assert not path.exists() and (tmp_path / "copy").read_bytes() == b"saved"


def test_a_file_is_an_object_as_it_is_now(client, tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"prepared")
    assert client.get_object(**at(path))["Body"].read() == b"prepared"
    path.write_bytes(b"damaged!")
    os.utime(path, ns=(1, 1))
    assert client.get_object(**at(path))["Body"].read() == b"damaged!"
    path.unlink()
    assert listed(client, tmp_path) == {}
    with pytest.raises(ClientError, match="NoSuchKey"):
        client.get_object(**at(path))


def test_an_upload_that_is_not_completed_is_in_no_file(client, tmp_path):
    path = tmp_path / "large"
    upload = client.create_multipart_upload(**at(path))["UploadId"]
    part = client.upload_part(**at(path), UploadId=upload, PartNumber=1, Body=bytes(PART_BYTES))
    assert not path.exists() and listed(client, tmp_path) == {}

    done = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    client.complete_multipart_upload(**at(path), UploadId=upload, MultipartUpload=done)
    assert path.stat().st_size == PART_BYTES and listed(client, tmp_path) == {str(path): PART_BYTES}


@pytest.mark.parametrize("path", ["/etc/../etc/passwd", "/./etc/passwd"])
def test_a_path_that_leaves_where_it_is_is_refused(client, path):
    with pytest.raises(ClientError, match="AccessDenied"):
        client.get_object(**at(path))


def test_who_does_not_name_the_key_is_refused(server, tmp_path):
    (tmp_path / "data").write_bytes(b"not yours")
    stranger = client_of(server, "a-guess")
    for ask in (stranger.get_object, stranger.delete_object):
        with pytest.raises(ClientError, match="AccessDenied"):
            ask(**at(tmp_path / "data"))
    assert (tmp_path / "data").exists()


def test_another_bucket_is_refused(client):
    with pytest.raises(ClientError, match="AccessDenied"):
        client.create_bucket(Bucket="another")


BESIDE = """
import sys
from faultkit.checkpointers.servers import s3
with s3():
    print("on", flush=True)
    sys.stdin.read()
"""


def servers_of(pid):
    return [one for one in psutil.Process(pid).children() if any("s3_server" in arg for arg in one.cmdline())]


def fail_beside_a_server(started):
    with s3():
        started += servers_of(os.getpid())
        raise KeyError


def test_it_ends_with_the_block_whatever_happens_in_it():
    before, started = servers_of(os.getpid()), []
    with pytest.raises(KeyError):
        fail_beside_a_server(started)
    assert len(started) == len(before) + 1 and servers_of(os.getpid()) == before


def test_it_ends_when_who_started_it_is_killed():
    caller = subprocess.Popen([sys.executable, "-c", BESIDE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with caller:
        assert caller.stdout.readline() == b"on\n"
        (process,) = servers_of(caller.pid)
        caller.send_signal(signal.SIGKILL)
        caller.wait(SECONDS_MAX)
        process.wait(GONE_SECONDS_MAX)


def test_a_server_that_cannot_start_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "moto").mkdir()
    (tmp_path / "moto" / "__init__.py").write_text("raise ImportError('no moto here')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(HarnessError, match=r"^the S3 server did not start: ImportError: no moto here$"), s3():
        pytest.fail("it started")
