#include "gcm.h"

#if defined(__x86_64__) && __has_include(<intel-ipsec-mb.h>)

#include <dlfcn.h>
#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct GcmKey {
  struct gcm_key_data data; /* aligned to 64 bytes */
  struct gcm_context_data context;
};

static IMB_MGR *manager;
static pthread_once_t loaded = PTHREAD_ONCE_INIT;

static void load(void) {
  /* The layout of the manager is that of the header; the library's name changes with it. */
  char name[32];
  snprintf(name, sizeof name, "libIPSec_MB.so.%d", IMB_VERSION_NUM >> 16);
  void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return;
  IMB_MGR *(*allocate)(uint64_t) = dlsym(library, "alloc_mb_mgr");
  void (*initialise)(IMB_MGR *, IMB_ARCH *) = dlsym(library, "init_mb_mgr_auto");
  void (*discard)(IMB_MGR *) = dlsym(library, "free_mb_mgr");
  if (allocate == NULL || initialise == NULL || discard == NULL) return;
  IMB_MGR *made = allocate(0);
  if (made == NULL) return;
  IMB_ARCH architecture = IMB_ARCH_NONE;
  initialise(made, &architecture);
  const uint64_t tested = IMB_FEATURE_SELF_TEST | IMB_FEATURE_SELF_TEST_PASS;
  if ((made->features & tested) == IMB_FEATURE_SELF_TEST || architecture < IMB_ARCH_AVX2) {
    discard(made);
    return;
  }
  manager = made;
}

const char *gcm_version(void) {
  pthread_once(&loaded, load);
  return manager == NULL ? NULL : IMB_VERSION_STR;
}

GcmKey *gcm_key_new(const uint8_t *key) {
  void *memory = NULL;
  if (gcm_version() == NULL || posix_memalign(&memory, 64, sizeof(GcmKey)) != 0) return NULL;
  GcmKey *made = memory;
  IMB_AES256_GCM_PRE(manager, key, &made->data);
  return made;
}

void gcm_key_free(GcmKey *key) {
  if (key == NULL) return;
  OPENSSL_cleanse(key, sizeof *key);
  free(key);
}

void gcm_seal(GcmKey *key, const uint8_t *nonce, const uint8_t *associated, size_t associated_bytes,
              const uint8_t *text, size_t bytes, uint8_t *out) {
  IMB_AES256_GCM_ENC(manager, &key->data, &key->context, out, text, bytes, nonce, associated, associated_bytes,
                     out + bytes, GCM_TAG_BYTES);
}

bool gcm_open(GcmKey *key, const uint8_t *nonce, const uint8_t *associated, size_t associated_bytes,
              const uint8_t *sealed, size_t bytes, uint8_t *out) {
  uint8_t tag[GCM_TAG_BYTES];
  IMB_AES256_GCM_DEC(manager, &key->data, &key->context, out, sealed, bytes, nonce, associated, associated_bytes, tag,
                     sizeof tag);
  return CRYPTO_memcmp(tag, sealed + bytes, sizeof tag) == 0;
}

#else

const char *gcm_version(void) { return NULL; }
GcmKey *gcm_key_new(const uint8_t *key) { return (void)key, NULL; }
void gcm_key_free(GcmKey *key) { (void)key; }
void gcm_seal(GcmKey *key, const uint8_t *nonce, const uint8_t *associated, size_t associated_bytes,
              const uint8_t *text, size_t bytes, uint8_t *out) {
  (void)key, (void)nonce, (void)associated, (void)associated_bytes, (void)text, (void)bytes, (void)out;
}
bool gcm_open(GcmKey *key, const uint8_t *nonce, const uint8_t *associated, size_t associated_bytes,
              const uint8_t *sealed, size_t bytes, uint8_t *out) {
  (void)key, (void)nonce, (void)associated, (void)associated_bytes, (void)sealed, (void)bytes, (void)out;
  return false;
}

#endif
