"""Pictures as tests send them."""

import base64
import io

from PIL import Image, ImageDraw


def picture(colour: str, size: tuple[int, int] = (84, 56)) -> bytes:
    """A PNG of one colour with a white disc."""
    image = Image.new("RGB", size, colour)
    ImageDraw.Draw(image).ellipse((10, 10, 40, 40), fill="white")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
