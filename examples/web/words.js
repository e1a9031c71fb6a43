// Words as people type them, and as the text encoder takes them.

const LONGEST = 256;

/** Words between commas, each once; Unicode's composed form, white space made one space. */
export function clean(typed) {
  const words = typed.split(",").map((one) => one.normalize("NFC").replace(/\s+/g, " ").trim()).filter(Boolean);
  for (const word of words) {
    if (/\p{Cc}|\p{Cs}/u.test(word)) throw new Error(`'${word}' has a control character. Remove it.`);
    if ([...word].length > LONGEST) throw new Error(`'${word.slice(0, 40)}…' is longer than ${LONGEST} characters. A class is a word or a short phrase.`);
  }
  if (!words.length) throw new Error("Type a word that you look for.");
  return [...new Set(words)];
}

/**
 * Token ids of words, a row of the context's length each.
 * @returns {{ids: BigInt64Array, cut: string[]}} with the words whose end was cut off
 */
export function tokenIds(tokenizer, words, { templates: [template], context_length: length, pad_token_id: pad }) {
  const ids = new BigInt64Array(words.length * length).fill(BigInt(pad)), cut = [];
  words.forEach((word, row) => {
    let own = tokenizer.encode(template.split("{}").join(word)).ids;
    if (own.length > length) {
      cut.push(word);
      own = [...own.slice(0, length - 1), own.at(-1)]; // the last token says where a text ends
    }
    own.forEach((id, at) => { ids[row * length + at] = BigInt(id); });
  });
  return { ids, cut };
}
