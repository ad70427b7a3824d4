// Drafts of drawings, kept in this browser until they are saved or thrown away: a closed window loses no stroke. What is
// kept are numbers of voxels and UIDs, no name.

const STORE = "drawings";

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("medseg-drawings", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function within(mode, action) {
  const database = await opened();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const request = action(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

/** A draft: {start, voxels (Uint32Array: which differ from the start), at}; undefined where there is none. */
export function draft(key) {
  return within("readonly", (store) => store.get(key)).catch(() => undefined);
}

/** False: this browser keeps nothing, and a closed window would lose what was drawn. */
export function keepDraft(key, value) {
  return within("readwrite", (store) => store.put(value, key)).then(() => true, () => false);
}

export function dropDraft(key) {
  return within("readwrite", (store) => store.delete(key)).catch(() => undefined);
}
