/*
 * Sealing and opening batches of packets with the OpenSSL that is part of Node: its EVP functions are exported to
 * addons, so there is no library to link. A key is two contexts, one for each use, set up once; per packet only the
 * nonce is set anew. AES-256-GCM is left to gcm.c where that can do it. The rows are those of core/packet-cipher.ts.
 */
#include "addon.h"
#include "gcm.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#ifndef HWCAP_AES
#define HWCAP_AES (1 << 3)
#endif
#ifndef HWCAP_PMULL
#define HWCAP_PMULL (1 << 4)
#endif
#endif

enum { CIPHER_CHACHA20_POLY1305 = 1, CIPHER_AES_256_GCM = 2 };
enum { KEY_BYTES = 32, NONCE_BYTES = 12, HEADER_BYTES = 8, TAG_BYTES = 16, OVERHEAD = HEADER_BYTES + TAG_BYTES };
enum { ROW_WORDS = 8, ROW_SOURCE = 0, ROW_BYTES = 1, ROW_DESTINATION = 2, ROW_HEADER = 3, ROW_NONCE = 5 };
#define OPEN_FAILED 0xffffffffu
/* The length of a packet is an int to OpenSSL, and far below this. */
#define TEXT_BYTES_MAX (1u << 30)

/* Either `gcm` is there or the two contexts are; nothing: destroyed. */
typedef struct {
  Handle handle;
  GcmKey *gcm;
  EVP_CIPHER_CTX *seal;
  EVP_CIPHER_CTX *open;
} Key;

static EVP_CIPHER_CTX *context_new(uint32_t cipher, const uint8_t *key, bool sealing) {
  /* Fetched, not taken from EVP_aes_256_gcm(): that one looks the provider's method up at every init. */
  EVP_CIPHER *method =
      EVP_CIPHER_fetch(NULL, cipher == CIPHER_AES_256_GCM ? "AES-256-GCM" : "ChaCha20-Poly1305", NULL);
  EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
  /* The nonce length of both is 12 from the start. */
  bool ok = method != NULL && context != NULL &&
            EVP_CipherInit_ex2(context, method, key, NULL, sealing ? 1 : 0, NULL) == 1;
  EVP_CIPHER_free(method);
  if (ok) return context;
  EVP_CIPHER_CTX_free(context);
  return NULL;
}

/* Writes ciphertext and, behind it, the tag. */
static bool seal_one(EVP_CIPHER_CTX *context, const uint8_t *nonce, const uint8_t *associated, int associated_bytes,
                     const uint8_t *text, int bytes, uint8_t *out) {
  int n;
  /* What EVP_CIPHER_CTX_ctrl would make of EVP_CTRL_AEAD_GET_TAG, after some searching. */
  OSSL_PARAM tag[] = {OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, out + bytes, TAG_BYTES), OSSL_PARAM_END};
  return EVP_EncryptInit_ex2(context, NULL, NULL, nonce, NULL) == 1 &&
         (associated_bytes == 0 || EVP_EncryptUpdate(context, NULL, &n, associated, associated_bytes) == 1) &&
         (bytes == 0 || EVP_EncryptUpdate(context, out, &n, text, bytes) == 1) &&
         EVP_EncryptFinal_ex(context, out + bytes, &n) == 1 &&
         EVP_CIPHER_CTX_get_params(context, tag) == 1;
}

/* `sealed` is ciphertext and tag, `bytes` the length of the ciphertext alone. */
static bool open_one(EVP_CIPHER_CTX *context, const uint8_t *nonce, const uint8_t *associated, int associated_bytes,
                     const uint8_t *sealed, int bytes, uint8_t *out) {
  int n;
  uint8_t none[1];
  OSSL_PARAM tag[] = {OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, (void *)(sealed + bytes), TAG_BYTES),
                      OSSL_PARAM_END};
  return EVP_DecryptInit_ex2(context, NULL, NULL, nonce, tag) == 1 &&
         (associated_bytes == 0 || EVP_DecryptUpdate(context, NULL, &n, associated, associated_bytes) == 1) &&
         (bytes == 0 || EVP_DecryptUpdate(context, out, &n, sealed, bytes) == 1) &&
         EVP_DecryptFinal_ex(context, none, &n) == 1;
}

static void key_clear(Key *key) {
  gcm_key_free(key->gcm);
  key->gcm = NULL;
  /* Freeing a context erases the key in it (OPENSSL_clear_free in the provider). */
  EVP_CIPHER_CTX_free(key->seal);
  EVP_CIPHER_CTX_free(key->open);
  key->seal = key->open = NULL;
}

static void key_finalize(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  key_clear(data);
  free(data);
}

static bool check_cipher(napi_env env, uint32_t cipher, const Bytes *key) {
  if (cipher != CIPHER_CHACHA20_POLY1305 && cipher != CIPHER_AES_256_GCM) {
    throw_range(env, "cipher %u is unknown", cipher);
    return false;
  }
  if (key->length != KEY_BYTES) {
    throw_range(env, "a key has %d bytes, not %zu", KEY_BYTES, key->length);
    return false;
  }
  return true;
}

static napi_value key_create(napi_env env, napi_callback_info info) {
  ARGS(3);
  uint32_t cipher;
  Bytes bytes;
  bool openssl;
  if (!arg_uint32(env, argv[0], "cipher", &cipher) || !arg_bytes(env, argv[1], "key", &bytes) ||
      !arg_bool(env, argv[2], "openssl", &openssl))
    return NULL;
  if (!check_cipher(env, cipher, &bytes)) return NULL;
  Key *key = calloc(1, sizeof *key);
  if (key == NULL) return throw_range(env, "out of memory");
  key->handle.kind = HANDLE_KEY;
  if (cipher == CIPHER_AES_256_GCM && !openssl) key->gcm = gcm_key_new(bytes.data);
  if (key->gcm == NULL) {
    key->seal = context_new(cipher, bytes.data, true);
    key->open = context_new(cipher, bytes.data, false);
  }
  napi_value result = NULL;
  if (key->gcm == NULL && (key->seal == NULL || key->open == NULL)) {
    napi_throw_error(env, "ERR_CIPHER", "OpenSSL refuses the cipher");
  } else if (napi_create_external(env, key, key_finalize, NULL, &result) == napi_ok) {
    return result;
  }
  key_finalize(env, key, NULL);
  return NULL;
}

typedef struct {
  Key *key;
  Bytes destination, source;
  Words rows;
  uint32_t from, count;
} Batch;

/* Whether [offset, offset + bytes) lies within `length`. */
static bool within(uint64_t offset, uint64_t bytes, size_t length) { return offset + bytes <= length; }

static bool batch_get(napi_env env, napi_callback_info info, Batch *batch) {
  napi_value argv[6];
  if (!args_get(env, info, 6, argv)) return false;
  if ((batch->key = arg_handle(env, argv[0], HANDLE_KEY, "key")) == NULL) return false;
  if (!arg_bytes(env, argv[1], "destination", &batch->destination)) return false;
  if (!arg_bytes(env, argv[2], "source", &batch->source)) return false;
  if (!arg_words(env, argv[3], "rows", &batch->rows)) return false;
  if (!arg_uint32(env, argv[4], "from", &batch->from)) return false;
  if (!arg_uint32(env, argv[5], "count", &batch->count)) return false;
  if (batch->key->gcm == NULL && batch->key->seal == NULL) {
    throw_range(env, "the key is destroyed");
    return false;
  }
  if (!within(batch->from, batch->count, batch->rows.length / ROW_WORDS)) {
    throw_range(env, "rows %u to %u of %zu", batch->from, batch->from + batch->count,
                batch->rows.length / ROW_WORDS);
    return false;
  }
  return true;
}

static napi_value key_seal(napi_env env, napi_callback_info info) {
  Batch b;
  if (!batch_get(env, info, &b)) return NULL;
  const uint32_t *rows = b.rows.data + (size_t)b.from * ROW_WORDS;
  for (uint32_t i = 0; i < b.count; i++) {
    const uint32_t *row = rows + (size_t)i * ROW_WORDS;
    if (row[ROW_BYTES] > TEXT_BYTES_MAX || !within(row[ROW_SOURCE], row[ROW_BYTES], b.source.length) ||
        !within(row[ROW_DESTINATION], (uint64_t)row[ROW_BYTES] + OVERHEAD, b.destination.length))
      return throw_range(env, "row %u reaches outside its array", b.from + i);
  }
  for (uint32_t i = 0; i < b.count; i++) {
    const uint32_t *row = rows + (size_t)i * ROW_WORDS;
    uint8_t *out = b.destination.data + row[ROW_DESTINATION];
    const uint8_t *nonce = (const uint8_t *)(row + ROW_NONCE);
    const uint8_t *text = b.source.data + row[ROW_SOURCE];
    memcpy(out, row + ROW_HEADER, HEADER_BYTES);
    if (b.key->gcm != NULL) {
      gcm_seal(b.key->gcm, nonce, out, HEADER_BYTES, text, row[ROW_BYTES], out + HEADER_BYTES);
    } else if (!seal_one(b.key->seal, nonce, out, HEADER_BYTES, text, (int)row[ROW_BYTES],
                         out + HEADER_BYTES)) {
      napi_throw_error(env, "ERR_CIPHER", "OpenSSL failed to seal");
      return NULL;
    }
  }
  return NULL;
}

static napi_value key_open(napi_env env, napi_callback_info info) {
  Batch b;
  if (!batch_get(env, info, &b)) return NULL;
  uint32_t *rows = b.rows.data + (size_t)b.from * ROW_WORDS;
  for (uint32_t i = 0; i < b.count; i++) {
    const uint32_t *row = rows + (size_t)i * ROW_WORDS;
    uint64_t text = row[ROW_BYTES] > OVERHEAD ? row[ROW_BYTES] - OVERHEAD : 0;
    if (row[ROW_BYTES] > TEXT_BYTES_MAX || !within(row[ROW_SOURCE], row[ROW_BYTES], b.source.length) ||
        !within(row[ROW_DESTINATION], text, b.destination.length))
      return throw_range(env, "row %u reaches outside its array", b.from + i);
  }
  for (uint32_t i = 0; i < b.count; i++) {
    uint32_t *row = rows + (size_t)i * ROW_WORDS;
    if (row[ROW_BYTES] < OVERHEAD) {
      row[ROW_BYTES] = OPEN_FAILED;
      continue;
    }
    const uint8_t *in = b.source.data + row[ROW_SOURCE];
    uint8_t *out = b.destination.data + row[ROW_DESTINATION];
    int bytes = (int)row[ROW_BYTES] - OVERHEAD;
    const uint8_t *nonce = (const uint8_t *)(row + ROW_NONCE);
    const uint8_t *sealed = in + HEADER_BYTES;
    bool authentic = b.key->gcm != NULL
                         ? gcm_open(b.key->gcm, nonce, in, HEADER_BYTES, sealed, (size_t)bytes, out)
                         : open_one(b.key->open, nonce, in, HEADER_BYTES, sealed, bytes, out);
    if (authentic) {
      row[ROW_BYTES] = (uint32_t)bytes;
    } else {
      /* What was decrypted without being authentic is not left for anybody to read. */
      if (bytes > 0) memset(out, 0, (size_t)bytes);
      row[ROW_BYTES] = OPEN_FAILED;
    }
  }
  return NULL;
}

static napi_value key_destroy(napi_env env, napi_callback_info info) {
  ARGS(1);
  Key *key = arg_handle(env, argv[0], HANDLE_KEY, "key");
  if (key != NULL) key_clear(key);
  return NULL;
}

/* One text with associated data of any length, for published vectors; undefined when the tag is wrong. */
static napi_value aead_once(napi_env env, napi_callback_info info) {
  ARGS(6);
  uint32_t cipher;
  Bytes key, nonce, associated, text;
  bool opening;
  if (!arg_uint32(env, argv[0], "cipher", &cipher) || !arg_bytes(env, argv[1], "key", &key) ||
      !arg_bytes(env, argv[2], "nonce", &nonce) || !arg_bytes(env, argv[3], "associated", &associated) ||
      !arg_bytes(env, argv[4], "text", &text) || !arg_bool(env, argv[5], "open", &opening))
    return NULL;
  if (!check_cipher(env, cipher, &key)) return NULL;
  if (nonce.length != NONCE_BYTES) return throw_range(env, "a nonce has %d bytes", NONCE_BYTES);
  if (associated.length > TEXT_BYTES_MAX || text.length > TEXT_BYTES_MAX) return throw_range(env, "text too long");
  if (opening && text.length < TAG_BYTES) return NULL;
  size_t bytes = opening ? text.length - TAG_BYTES : text.length + TAG_BYTES;
  napi_value buffer, result = NULL;
  void *out = NULL;
  if (napi_create_arraybuffer(env, bytes, &out, &buffer) != napi_ok) return NULL;
  uint8_t nothing[1];
  if (bytes == 0) out = nothing;
  EVP_CIPHER_CTX *context = context_new(cipher, key.data, !opening);
  bool ok = context != NULL &&
            (opening ? open_one(context, nonce.data, associated.data, (int)associated.length, text.data, (int)bytes, out)
                     : seal_one(context, nonce.data, associated.data, (int)associated.length, text.data,
                                (int)text.length, out));
  EVP_CIPHER_CTX_free(context);
  if (ok) napi_create_typedarray(env, napi_uint8_array, bytes, buffer, 0, &result);
  return result;
}

/* Version of the library that does AES-256-GCM instead of OpenSSL; undefined without one. */
static napi_value gcm_library(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value result = NULL;
  const char *version = gcm_version();
  if (version != NULL) napi_create_string_utf8(env, version, NAPI_AUTO_LENGTH, &result);
  return result;
}

static napi_value has_aes(napi_env env, napi_callback_info info) {
  (void)info;
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
  return make_bool(env, __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul"));
#elif defined(__aarch64__)
  unsigned long capabilities = getauxval(AT_HWCAP);
  return make_bool(env, (capabilities & HWCAP_AES) && (capabilities & HWCAP_PMULL));
#else
  return make_bool(env, false);
#endif
}

void aead_register(napi_env env, napi_value exports) {
  define(env, exports, "keyCreate", key_create);
  define(env, exports, "keySeal", key_seal);
  define(env, exports, "keyOpen", key_open);
  define(env, exports, "keyDestroy", key_destroy);
  define(env, exports, "aeadOnce", aead_once);
  define(env, exports, "hasAes", has_aes);
  define(env, exports, "gcmLibrary", gcm_library);
}
