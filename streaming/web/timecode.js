// For measurements (page opened as /#bench): reads the timecode that a stamping camera paints into its pictures.
// Two rows of 32 blocks of 16 px: 32 bits of milliseconds, 16 bits of a counter, 16 bits of check.

const SIDE = 16, COLUMNS = 32, SALT = 0x5a3c;

export function read(context) {
  const pixels = context.getImageData(0, 0, SIDE * COLUMNS, 2 * SIDE).data;
  let bits = 0n;
  for (let row = 0; row < 2; row++) {
    for (let column = 0; column < COLUMNS; column++) {
      const at = 4 * ((row * SIDE + SIDE / 2) * SIDE * COLUMNS + column * SIDE + SIDE / 2);
      bits = (bits << 1n) | (pixels[at + 1] > 125 ? 1n : 0n);
    }
  }
  const milliseconds = Number(bits >> 32n), counter = Number((bits >> 16n) & 0xffffn), check = Number(bits & 0xffffn);
  const expected = (milliseconds ^ (milliseconds >>> 16) ^ counter ^ SALT) & 0xffff;
  return check === expected ? milliseconds : null;
}

// Notes [milliseconds in the picture, milliseconds now] of every picture in `window.timecodes`.
export function note(context) {
  const found = read(context);
  if (found !== null) (window.timecodes ??= []).push([found, performance.timeOrigin + performance.now()]);
}
