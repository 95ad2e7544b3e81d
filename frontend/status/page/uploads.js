// Pictures that are to go along with a message.

import { make } from "./dom.js";

const PICTURES_MAX = 4; // some models take no more, and a small screen shows no more
const PICTURE_BYTES_MAX = 8 * 2 ** 20; // four of them fit a request in base64
const TYPES = ["image/png", "image/jpeg", "image/webp", "image/gif"];

/**
 * Keeps the pictures that were chosen or pasted, and shows them.
 *
 * @param onRefused is told why one is not taken
 */
export function uploads(shelf, onRefused) {
  let pictures = [];

  async function add(files) {
    for (const file of files) {
      if (!TYPES.includes(file.type)) onRefused(`${file.name} is no PNG, JPEG, WebP or GIF.`);
      else if (file.size > PICTURE_BYTES_MAX) onRefused(`${file.name} is larger than 8 MB.`);
      else if (pictures.length >= PICTURES_MAX) onRefused(`No more than ${PICTURES_MAX} pictures.`);
      else show(file.name, await dataUrl(file));
    }
  }

  function show(name, url) {
    const remove = make("button", { type: "button", "aria-label": `Remove ${name}` }, "×");
    const card = make("span", { class: "upload" }, make("img", { src: url, alt: name }), remove);
    remove.addEventListener("click", () => {
      pictures = pictures.filter((each) => each.card !== card);
      card.remove();
    });
    pictures.push({ card, url });
    shelf.append(card);
  }

  /** Hands over the pictures and keeps none. */
  function take() {
    const urls = pictures.map((each) => each.url);
    pictures = [];
    shelf.replaceChildren();
    return urls;
  }

  return { add, take };
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
