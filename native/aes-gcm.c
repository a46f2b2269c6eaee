/*
 * The hash is computed as POLYVAL (RFC 8452, appendix A): GHASH with its bytes turned round and its key multiplied by
 * x, for which the reduction is two multiplications. Sixteen blocks share one reduction, as each is multiplied by the
 * power of the hash key that its distance to the end of the group asks for. As many go through the cipher at once, so
 * that it need not wait for its own results.
 */
#include "aes-gcm.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define TARGET __attribute__((target("avx2,aes,pclmul,vaes,vpclmulqdq")))
#define INLINE TARGET static inline __attribute__((always_inline))

/* Two blocks make a pair. */
enum { BLOCK = 16, PAIR = 2 * BLOCK, PAIRS_MAX = 8, GROUP = PAIRS_MAX * PAIR, POWERS = 2 * PAIRS_MAX, ROUNDS = 14 };

struct GcmKey {
  __m128i round[ROUNDS + 1];
  /* Of the hash key: the POWERS-th first, the first last. */
  _Alignas(PAIR) __m128i power[POWERS];
};

bool gcm_available(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul") &&
         __builtin_cpu_supports("vaes") && __builtin_cpu_supports("vpclmulqdq");
}

INLINE __m128i reverse_bytes(void) { return _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }

INLINE __m128i load(const void *at) { return _mm_loadu_si128((const __m128i *)at); }

INLINE __m128i load_reversed(const void *at) { return _mm_shuffle_epi8(load(at), reverse_bytes()); }

/* ---- hash ---- */

/* Halves of products not reduced yet. */
typedef struct { __m128i low, middle, high; } Product;

INLINE void product_add(Product *p, __m128i a, __m128i b) {
  p->low = _mm_xor_si128(p->low, _mm_clmulepi64_si128(a, b, 0x00));
  p->high = _mm_xor_si128(p->high, _mm_clmulepi64_si128(a, b, 0x11));
  p->middle = _mm_xor_si128(p->middle, _mm_clmulepi64_si128(a, b, 0x01));
  p->middle = _mm_xor_si128(p->middle, _mm_clmulepi64_si128(a, b, 0x10));
}

/* Times x^-128, modulo x^128 + x^127 + x^126 + x^121 + 1. */
INLINE __m128i product_reduce(const Product *p) {
  const __m128i modulus = _mm_set_epi64x((long long)0xc200000000000000, 1);
  __m128i low = _mm_xor_si128(p->low, _mm_slli_si128(p->middle, 8));
  __m128i high = _mm_xor_si128(p->high, _mm_srli_si128(p->middle, 8));
  low = _mm_xor_si128(_mm_shuffle_epi32(low, 0x4e), _mm_clmulepi64_si128(low, modulus, 0x10));
  low = _mm_xor_si128(_mm_shuffle_epi32(low, 0x4e), _mm_clmulepi64_si128(low, modulus, 0x10));
  return _mm_xor_si128(high, low);
}

INLINE __m128i multiply(__m128i a, __m128i b) {
  Product p = {0};
  product_add(&p, a, b);
  return product_reduce(&p);
}

/* The same for pairs of blocks. */
typedef struct { __m256i low, middle, high; } PairProduct;

/* Adds pair `i` of `pairs` of ciphertext, of which the first takes up the hash of all before. */
INLINE void product_add_pair(PairProduct *p, const GcmKey *key, __m128i hash, const uint8_t *cipher, int pairs, int i) {
  __m256i power = _mm256_load_si256((const __m256i *)key->power + PAIRS_MAX - pairs + i);
  __m256i pair = _mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *)cipher + i),
                                     _mm256_broadcastsi128_si256(reverse_bytes()));
  if (i == 0) pair = _mm256_xor_si256(pair, _mm256_zextsi128_si256(hash));
  p->low = _mm256_xor_si256(p->low, _mm256_clmulepi64_epi128(pair, power, 0x00));
  p->high = _mm256_xor_si256(p->high, _mm256_clmulepi64_epi128(pair, power, 0x11));
  p->middle = _mm256_xor_si256(p->middle, _mm256_clmulepi64_epi128(pair, power, 0x01));
  p->middle = _mm256_xor_si256(p->middle, _mm256_clmulepi64_epi128(pair, power, 0x10));
}

INLINE __m128i join(__m256i pair) {
  return _mm_xor_si128(_mm256_castsi256_si128(pair), _mm256_extracti128_si256(pair, 1));
}

INLINE __m128i pair_product_reduce(const PairProduct *p) {
  Product joined = {join(p->low), join(p->middle), join(p->high)};
  return product_reduce(&joined);
}

INLINE __m128i hash_pairs(const GcmKey *key, __m128i hash, const uint8_t *cipher, int pairs) {
  PairProduct p = {0};
#pragma GCC unroll 8
  for (int i = 0; i < pairs; i++) product_add_pair(&p, key, hash, cipher, pairs, i);
  return pair_product_reduce(&p);
}

/* The hash of the associated data, which are zero-padded to whole blocks. */
INLINE __m128i hash_associated(const GcmKey *key, const uint8_t *data, size_t bytes) {
  __m128i hash = _mm_setzero_si128();
  while (bytes > 0) {
    uint8_t block[BLOCK] = {0};
    size_t n = bytes < BLOCK ? bytes : BLOCK;
    memcpy(block, data, n);
    hash = multiply(_mm_xor_si128(hash, load_reversed(block)), key->power[POWERS - 1]);
    data += n;
    bytes -= n;
  }
  return hash;
}

/* ---- cipher ---- */

INLINE __m128i encrypt_block(const GcmKey *key, __m128i block) {
  block = _mm_xor_si128(block, key->round[0]);
#pragma GCC unroll 16
  for (int r = 1; r < ROUNDS; r++) block = _mm_aesenc_si128(block, key->round[r]);
  return _mm_aesenclast_si128(block, key->round[ROUNDS]);
}

/*
 * Key stream. `counter`: two counter blocks with their bytes turned round; moved on. As many pairs of `cipher` are
 * hashed on the way, if it is not NULL: the processor does the one while it waits for the other.
 */
INLINE void key_stream(const GcmKey *key, __m256i *counter, __m256i *stream, int pairs, const uint8_t *cipher,
                       __m128i *hash) {
  const __m256i reverse = _mm256_broadcastsi128_si256(reverse_bytes());
  const __m256i two = _mm256_set_epi32(0, 0, 0, 2, 0, 0, 0, 2);
  __m256i round = _mm256_broadcastsi128_si256(key->round[0]);
  PairProduct p = {0};
#pragma GCC unroll 8
  for (int i = 0; i < pairs; i++) {
    stream[i] = _mm256_xor_si256(_mm256_shuffle_epi8(*counter, reverse), round);
    *counter = _mm256_add_epi32(*counter, two);
  }
#pragma GCC unroll 16
  for (int r = 1; r < ROUNDS; r++) {
    round = _mm256_broadcastsi128_si256(key->round[r]);
#pragma GCC unroll 8
    for (int i = 0; i < pairs; i++) stream[i] = _mm256_aesenc_epi128(stream[i], round);
    if (cipher != NULL && r <= pairs) product_add_pair(&p, key, *hash, cipher, pairs, r - 1);
  }
  if (cipher != NULL) *hash = pair_product_reduce(&p);
  round = _mm256_broadcastsi128_si256(key->round[ROUNDS]);
#pragma GCC unroll 8
  for (int i = 0; i < pairs; i++) stream[i] = _mm256_aesenclast_epi128(stream[i], round);
}

/* Some pairs from `in` to `out`, while as many of `cipher` are hashed, if it is not NULL. */
INLINE void crypt_pairs(const GcmKey *key, __m256i *counter, const uint8_t *in, uint8_t *out, int pairs,
                        const uint8_t *cipher, __m128i *hash) {
  __m256i stream[PAIRS_MAX];
  key_stream(key, counter, stream, pairs, cipher, hash);
#pragma GCC unroll 8
  for (int i = 0; i < pairs; i++) {
    __m256i text = _mm256_loadu_si256((const __m256i *)in + i);
    _mm256_storeu_si256((__m256i *)out + i, _mm256_xor_si256(text, stream[i]));
  }
}

/* The last bytes, fewer than half a group; and the block of lengths. Returns the finished hash. */
INLINE __m128i crypt_rest(const GcmKey *key, __m256i *counter, __m128i hash, const uint8_t *in, uint8_t *out,
                          size_t rest, uint64_t bytes, uint64_t associated_bytes, bool sealing) {
  _Alignas(PAIR) uint8_t text[GROUP / 2] = {0}, stream[GROUP / 2], cipher[GROUP / 2] = {0};
  size_t blocks = (rest + BLOCK - 1) / BLOCK;
  if (rest > 0) {
    key_stream(key, counter, (__m256i *)stream, PAIRS_MAX / 2, NULL, NULL);
    memcpy(text, in, rest);
    if (!sealing) memcpy(cipher, in, rest);
    for (size_t at = 0; at < rest; at += BLOCK)
      _mm_store_si128((__m128i *)(text + at), _mm_xor_si128(load(text + at), load(stream + at)));
    memcpy(out, text, rest);
    if (sealing) memcpy(cipher, text, rest);
  }
  Product p = {0};
  for (size_t i = 0; i <= blocks; i++) {
    __m128i block = i < blocks ? load_reversed(cipher + i * BLOCK)
                               : _mm_set_epi64x((long long)(associated_bytes * 8), (long long)(bytes * 8));
    if (i == 0) block = _mm_xor_si128(block, hash);
    product_add(&p, block, key->power[POWERS - 1 - blocks + i]);
  }
  return product_reduce(&p);
}

/* Everything between key and tag. Returns the tag. */
INLINE __m128i crypt(const GcmKey *key, const uint8_t *nonce, const uint8_t *associated, size_t associated_bytes,
                     const uint8_t *in, size_t bytes, uint8_t *out, bool sealing) {
  uint8_t first[BLOCK] = {0};
  memcpy(first, nonce, 12);
  first[15] = 1;
  __m128i mask = encrypt_block(key, load(first));
  __m128i start = load_reversed(first);
  __m256i counter = _mm256_add_epi32(_mm256_broadcastsi128_si256(start), _mm256_set_epi32(0, 0, 0, 2, 0, 0, 0, 1));
  __m128i hash = hash_associated(key, associated, associated_bytes);
  size_t at = 0;
  if (sealing && bytes >= GROUP) {
    /* What is hashed is always one group behind. */
    crypt_pairs(key, &counter, in, out, PAIRS_MAX, NULL, NULL);
    for (at = GROUP; bytes - at >= GROUP; at += GROUP)
      crypt_pairs(key, &counter, in + at, out + at, PAIRS_MAX, out + at - GROUP, &hash);
    hash = hash_pairs(key, hash, out + at - GROUP, PAIRS_MAX);
  }
  for (; bytes - at >= GROUP; at += GROUP)
    crypt_pairs(key, &counter, in + at, out + at, PAIRS_MAX, in + at, &hash);
  if (bytes - at >= GROUP / 2) {
    crypt_pairs(key, &counter, in + at, out + at, PAIRS_MAX / 2, sealing ? NULL : in + at, &hash);
    if (sealing) hash = hash_pairs(key, hash, out + at, PAIRS_MAX / 2);
    at += GROUP / 2;
  }
  hash = crypt_rest(key, &counter, hash, in + at, out + at, bytes - at, bytes, associated_bytes, sealing);
  return _mm_xor_si128(_mm_shuffle_epi8(hash, reverse_bytes()), mask);
}

TARGET void gcm_seal(const GcmKey *key, const uint8_t *nonce, const uint8_t *associated, size_t associated_bytes,
                     const uint8_t *text, size_t bytes, uint8_t *out) {
  __m128i tag = crypt(key, nonce, associated, associated_bytes, text, bytes, out, true);
  _mm_storeu_si128((__m128i *)(out + bytes), tag);
}

TARGET bool gcm_open(const GcmKey *key, const uint8_t *nonce, const uint8_t *associated, size_t associated_bytes,
                     const uint8_t *sealed, size_t bytes, uint8_t *out) {
  __m128i tag = crypt(key, nonce, associated, associated_bytes, sealed, bytes, out, false);
  __m128i difference = _mm_xor_si128(tag, load(sealed + bytes));
  return _mm_testz_si128(difference, difference) == 1;
}

/* ---- keys ---- */

/* The next round key (FIPS 197, section 5.2): `word` in all places is what the former one's last word became. */
INLINE __m128i next_round(__m128i before, __m128i word) {
  before = _mm_xor_si128(before, _mm_slli_si128(before, 4));
  before = _mm_xor_si128(before, _mm_slli_si128(before, 8));
  return _mm_xor_si128(before, word);
}

TARGET static void expand(GcmKey *key, const uint8_t *bytes) {
  __m128i *round = key->round;
  round[0] = load(bytes);
  round[1] = load(bytes + BLOCK);
/* The constant has to be one for the compiler. */
#define EVEN(i, constant) \
  round[i] = next_round(round[i - 2], _mm_shuffle_epi32(_mm_aeskeygenassist_si128(round[i - 1], constant), 0xff))
#define ODD(i) round[i] = next_round(round[i - 2], _mm_shuffle_epi32(_mm_aeskeygenassist_si128(round[i - 1], 0), 0xaa))
  EVEN(2, 1), ODD(3), EVEN(4, 2), ODD(5), EVEN(6, 4), ODD(7), EVEN(8, 8), ODD(9);
  EVEN(10, 16), ODD(11), EVEN(12, 32), ODD(13), EVEN(14, 64);
#undef EVEN
#undef ODD
}

/* Times x, for POLYVAL's order of bits. */
TARGET static __m128i times_x(__m128i a) {
  const __m128i modulus = _mm_set_epi64x((long long)0xc200000000000000, 1);
  __m128i carry = _mm_slli_si128(_mm_srli_epi64(a, 63), 8);
  __m128i overflow = _mm_srai_epi32(_mm_shuffle_epi32(a, 0xff), 31);
  __m128i doubled = _mm_or_si128(_mm_slli_epi64(a, 1), carry);
  return _mm_xor_si128(doubled, _mm_and_si128(overflow, modulus));
}

TARGET GcmKey *gcm_key_new(const uint8_t *bytes) {
  GcmKey *key = aligned_alloc(_Alignof(GcmKey), sizeof *key);
  if (key == NULL) return NULL;
  expand(key, bytes);
  __m128i hash_key = _mm_shuffle_epi8(encrypt_block(key, _mm_setzero_si128()), reverse_bytes());
  key->power[POWERS - 1] = times_x(hash_key);
  for (int i = POWERS - 2; i >= 0; i--) key->power[i] = multiply(key->power[i + 1], key->power[POWERS - 1]);
  return key;
}

void gcm_key_free(GcmKey *key) {
  if (key == NULL) return;
  OPENSSL_cleanse(key, sizeof *key);
  free(key);
}

#else

bool gcm_available(void) { return false; }
GcmKey *gcm_key_new(const uint8_t *key) { return (void)key, NULL; }
void gcm_key_free(GcmKey *key) { (void)key; }
void gcm_seal(const GcmKey *key, const uint8_t *nonce, const uint8_t *associated, size_t associated_bytes,
              const uint8_t *text, size_t bytes, uint8_t *out) {
  (void)key, (void)nonce, (void)associated, (void)associated_bytes, (void)text, (void)bytes, (void)out;
}
bool gcm_open(const GcmKey *key, const uint8_t *nonce, const uint8_t *associated, size_t associated_bytes,
              const uint8_t *sealed, size_t bytes, uint8_t *out) {
  (void)key, (void)nonce, (void)associated, (void)associated_bytes, (void)sealed, (void)bytes, (void)out;
  return false;
}

#endif
