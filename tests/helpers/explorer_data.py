"""What a page is given to show."""

from __future__ import annotations

import json
import re


def data_of(text):
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(data)
