package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// A process keeps the capabilities of the bounding set and loses the others, in every set; the rest of the spec stays.
func TestCapabilitiesOutsideTheBoundingSetAreRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "process.json")
	spec := `{"capabilities":{"bounding":["CAP_CHOWN","CAP_SYS_RESOURCE"],"ambient":[]},"rlimits":[{"hard":18446744073709551615}]}`
	if err := os.WriteFile(path, []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	without := ^uint64(0) &^ (1 << numbers["CAP_SYS_RESOURCE"])
	if err := edit(path, func(process map[string]any) { limit(process, without) }); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var edited struct {
		Capabilities map[string][]string
		Rlimits      []map[string]json.Number
	}
	if err := json.Unmarshal(content, &edited); err != nil {
		t.Fatal(err)
	}
	if want := []string{"CAP_CHOWN"}; !reflect.DeepEqual(edited.Capabilities["bounding"], want) {
		t.Errorf("bounding = %v, want %v", edited.Capabilities["bounding"], want)
	}
	if got := edited.Rlimits[0]["hard"].String(); got != "18446744073709551615" {
		t.Errorf("a number of the spec changed to %s", got)
	}
}

// The flag may be followed by its value or joined to it.
func TestBothSpellingsOfAFlagAreRead(t *testing.T) {
	for _, arguments := range [][]string{{"create", "--bundle", "/b", "id"}, {"create", "--bundle=/b", "id"}} {
		if got := value(arguments, "--bundle", "-b"); got != "/b" {
			t.Errorf("value(%v) = %q", arguments, got)
		}
	}
}
