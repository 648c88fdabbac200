import{j as o}from"./chunk-4NOPTJT4.js";var n=o(null),p=o(null);export{n as a,p as b};
