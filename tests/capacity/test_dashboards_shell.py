"""The frame of every page."""

import pytest
from django.test import Client

from tests.factories import make_admin

pytestmark = pytest.mark.django_db


def test_the_shell_names_where_one_can_go(client: Client) -> None:
    client.force_login(make_admin())
    page = client.get("/").content.decode()
    assert 'aria-current="page" data-go="f">Fleet' in page
    assert ">Accelerators</a>" in page
    assert ">Sources</a>" in page
